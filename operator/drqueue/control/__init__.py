"""The operator: one queue of keys, a store of what exists, and a reconciler for each kind.

kopf only watches. Everything a reconciler decides comes from the store, the session's master and
the clock; see `drqueue.control.context` for what it is given.
"""
