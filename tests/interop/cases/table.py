"""How a case is declared."""

import dataclasses
from collections.abc import Callable

# The service has both names for a member that breaks a rule, and its pages seldom say which.
REFUSED = "ValidationException", "InvalidArgumentException"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    # What AWS documents, in any of these words; none if its pages leave it open.
    documented: tuple[str, ...]
    page: str
    # Why the fake does what it does, where it had a choice or stands alone.
    why: str
    # The kind of endpoint it is for: any, with limits on rates, or in no hurry to change streams.
    kind: str
    run: Callable


class Table:
    def __init__(self):
        self.cases = []

    def case(self, name, documented, page, why="", kind="any"):
        """Declares the function below as a case."""
        words = (documented,) if isinstance(documented, str) else tuple(documented or ())

        def declare(run):
            self.cases.append(Case(name, words, page, why, kind, run))
            return run

        return declare
