"""The slave: pulls blocks from its session's master, renders them, reports what they left.

`loop` talks to the master and takes a runner as an argument; `runner` is the real one, which runs a
block through Open Job Description's sessions. What a renderer writes, prints or starts is a
stranger's, and bounded here.
"""
