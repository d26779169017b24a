"""Money, pure: prices, the session's grant, its settlement, and the account's ledger.

Nothing here reads or writes anything: reconcilers hand in what they read and carry out what comes
back. docs/decisions/the-ledger.md tells the order of reads and writes that keeps the sums right.
"""
