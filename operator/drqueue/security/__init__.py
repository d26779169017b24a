"""Keys and certificates: the CA that signs who may speak to whom."""
