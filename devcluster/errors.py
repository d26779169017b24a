"""The one exception that reaches a person: a sentence, with the command that mends it."""


class DevclusterError(Exception):
    """What is wrong and what to do about it; printed as it is, without a traceback."""
