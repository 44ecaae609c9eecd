"""What a pass did, for reports and logs."""

from dataclasses import dataclass

__all__ = ["Change"]


@dataclass(frozen=True)
class Change:
    """One thing that one pass did.

    pass_name   the pass, as its module is named: fold_batchnorm
    node        name of the node, value or initializer that changed
    what        a few words for people: "folded into Conv conv1"
    """

    pass_name: str
    node: str
    what: str
