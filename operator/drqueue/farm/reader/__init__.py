"""Reading frames and logs from a session's volume, beside its master or while it sleeps."""
