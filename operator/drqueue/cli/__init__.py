"""The command line: `drqueue`, also found as `kubectl drqueue`.

All of it goes through the Kubernetes API with the user's own rights. One module a noun; only
`connect`, `cluster` and `execute` touch the `kubernetes` library, which has no types.
"""
