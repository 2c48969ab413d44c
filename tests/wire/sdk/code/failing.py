"""Ends as scripts end that have a bug."""


def train() -> None:
    raise ValueError("the loss exploded at step 7")


train()
