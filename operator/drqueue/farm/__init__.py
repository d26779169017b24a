"""DrQueue itself: a master hands blocks of frames to slaves that pull them as leases.

`protocol` is the contract between operator, master and slave; `master`, `slave` and `reader`
are the three programs. Nothing here knows Kubernetes.
"""
