"""`make bench`: how DrQueue does beside what people would otherwise use, as ratios and counts.

Each measure is a module with `measure(scratch) -> list[Figure]`; times of the same run differ by
twice on a shared machine, so what is compared is measured side by side in one run.
"""
