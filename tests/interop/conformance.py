"""What this crate's fake does, beside what AWS documents and what emulators of others do.

    conformance.py [--write] [WORD…]

Runs all cases, or those with one of the words in their name, on every endpoint. The outcome is the
table of the fake's documentation, src/fake/conformance.md: it has to be the committed one, which
`--write` replaces. The fake has to do what AWS documents wherever AWS does document it.
"""

import concurrent.futures
import contextlib
import http.client
import sys
import time
from functools import partial

import cases
import emulators
from cases import kinesis
from cases.table import REFUSED

ENDPOINTS = {
    "fake": partial(emulators.fake, "--stream-delay"),
    "kinesalite": emulators.kinesalite,
    "kinesis-mock": emulators.kinesis_mock,
    "moto": emulators.moto,
    "ministack": emulators.ministack,
    "ferrokinesis": emulators.ferrokinesis,
}
KINDS = {
    "any": {},
    # Those that limit rates if they are asked to.
    "limited": {
        "fake": partial(emulators.fake, "--stream-delay", "--enforce-limits"),
        "ferrokinesis": partial(emulators.ferrokinesis, "--enforce-limits"),
    },
    # It answers too slowly for a state of 50 ms to be seen.
    "slow": {"kinesis-mock": partial(emulators.kinesis_mock, change_ms=1_000)},
}
# Times that what does not go as the table says is asked again.
SECOND_LOOKS = 2
SLOWEST_FIRST = sorted(ENDPOINTS, key=lambda name: name != "kinesis-mock")
REFERENCE = "https://docs.aws.amazon.com/kinesis/latest/APIReference"
PAGES = {
    "CommonErrors": f"{REFERENCE}/CommonErrors.html",
    "aws-json-1_1-protocol": "https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html",
    "how-do-i-size-a-stream": "https://docs.aws.amazon.com/streams/latest/dev/"
    "how-do-i-size-a-stream.html",
}
TABLE = emulators.ROOT / "src" / "fake" / "conformance.md"
HEAD = """\
Compares the fake with what AWS documents and with five emulators: kinesalite 3.3.3, kinesis-mock 0.6.2, moto 5.2.5,
ministack 1.5.33 and ferrokinesis 0.7.0. All of them received the same requests.

If a page of the AWS documentation decides a case, the fake follows that page. The column *AWS* links to the page. A
result that differs from the page is in **bold**.

The cells use these terms:

- An error has its name without `Exception`, or its status code if it has no name.
- *refused*: ValidationException or InvalidArgumentException.
- *open*: no page decides the case.
- A name followed by a colon: this call failed, with the error after the colon, so the case could not be tested.

"""


class Endpoint:
    """One endpoint, started again after every case that it did not survive."""

    def __init__(self, name, start):
        self.name = name
        self.start = start
        self.running = None
        self.kinesis = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.running:
            self.kinesis.close()
            self.running.close()
        self.running = None

    def outcome(self, case):
        if self.running is None:
            self.running = contextlib.ExitStack()
            url = self.running.enter_context(self.start()).url
            self.kinesis = kinesis.Kinesis(self.name, url)
        try:
            return case.run(self.kinesis)
        except kinesis.NotTried:
            return "not tried"
        except kinesis.Refused as refused:
            return str(refused)
        except TimeoutError:
            self.__exit__()
            return "hangs"
        except (OSError, http.client.HTTPException):
            alive = self.kinesis.is_alive()
            self.__exit__()
            return "hangs up" if alive else "crashes"
        except (AttributeError, LookupError, TypeError, ValueError):
            if self.name == "fake":
                raise
            return "malformed"


def outcomes(wanted, show):
    """The word for each case, by endpoint. An endpoint is one process's work: kinesis-mock takes as
    long as all others together, and each of them one core."""
    table = {case: {} for case in wanted}
    names = {case.name for case in wanted}
    jobs = [(name, kind, names) for kind in KINDS for name in SLOWEST_FIRST]
    with concurrent.futures.ProcessPoolExecutor(max_workers=2) as pool:
        for (name, *_), words, seconds in pool.map(of_endpoint, jobs):
            for case in wanted:
                table[case] |= {name: words[case.name]} if case.name in words else {}
            show(f"{name}: {len(words)} cases [{seconds:.1f} s]")
    return table


def of_endpoint(job):
    name, kind, names = job
    begin = time.monotonic()
    start = KINDS[kind].get(name, ENDPOINTS[name])
    rows = [case for case in cases.all_cases() if case.name in names and case.kind == kind]
    with Endpoint(name, start) as endpoint:
        words = {case.name: endpoint.outcome(case) for case in rows}
    return job, words, time.monotonic() - begin


def as_markdown(table):
    lines = [HEAD, row("case", "AWS", *ENDPOINTS, "reason"), "|---" * (len(ENDPOINTS) + 3) + "|\n"]
    lines += [line(case, words) for case, words in table.items()]
    pages = {case.page for case in table}
    lines.append("\n")
    lines += [f"[{page}]: {address(page)}\n" for page in sorted(pages)]
    return "".join(lines)


def line(case, words):
    cells = [cell(case, words[name]) for name in ENDPOINTS]
    return row(case.name, documented(case), *cells, reason(case, words))


def documented(case):
    if not case.documented:
        return f"[open][{case.page}]"
    words = "refused" if case.documented == REFUSED else " or ".join(case.documented)
    return f"[{shortened(words)}][{case.page}]"


def cell(case, word):
    shown = shortened(word)
    return shown if not case.documented or word in case.documented else f"**{shown}**"


def shortened(words):
    return words.replace("Exception", "").replace("__type", "`__type`")


def reason(case, words):
    """Said wherever the fake stands against most of the others."""
    right = case.documented or (words["fake"],)
    others = [words[name] in right for name in ENDPOINTS if name != "fake"]
    is_alone = others.count(True) < 3
    return case.why or ("the page says so" if is_alone and case.documented else "")


def row(*cells):
    return "| " + " | ".join(cells) + " |\n"


def address(page):
    return PAGES.get(page, f"{REFERENCE}/API_{page}.html")


def wrong_in_the_fake(table):
    for case, words in table.items():
        if case.documented and words["fake"] not in case.documented:
            yield f"{case.name}: the fake: {words['fake']}; AWS: {' or '.join(case.documented)}"


def counted(table):
    """For each endpoint how many cases went as documented, of those that are."""
    decided = {case: words for case, words in table.items() if case.documented}
    right = {
        name: sum(words[name] in case.documented for case, words in decided.items())
        for name in ENDPOINTS
    }
    figures = ", ".join(f"{name} {count}" for name, count in right.items())
    return f"{len(table)} cases, as documented of {len(decided)}: {figures}"


def check(write=False, show=lambda line: None):
    """Runs all cases; returns the figures, what is wrong, and what is odd, line by line.

    The others are pinned, so what they do differently from the table is their own timing: they are
    asked again, and what stays different is told but is not our fault.
    """
    table = outcomes(cases.all_cases(), show)
    if write:
        TABLE.write_text(as_markdown(table))
    committed = TABLE.read_text().splitlines(keepends=True) if TABLE.exists() else []
    for _ in range(SECOND_LOOKS):
        doubtful = [case for case, words in table.items() if line(case, words) not in committed]
        if not doubtful:
            break
        table |= outcomes(doubtful, show)
    odd = [line(case, words) for case, words in table.items() if line(case, words) not in committed]
    ours = {case.name: cell(case, words["fake"]) for case, words in table.items()}
    wrong = [*wrong_in_the_fake(table), *stale(committed, ours)]
    return counted(table), wrong, odd


def stale(committed, ours):
    """Where the committed table does not say what the fake does."""
    rows = [[part.strip() for part in text.split("|")] for text in committed if text.startswith("| ")]
    said = {cells[1]: cells[3] for cells in rows if len(cells) > 3}
    for name, word in ours.items():
        if said.get(name) != word:
            yield f"{name}: {TABLE.name} says {said.get(name)}, the fake does {word}: --write it"


def main(arguments):
    show = partial(print, flush=True)
    words = [argument for argument in arguments if argument != "--write"]
    if words:
        wanted = [case for case in cases.all_cases() if any(word in case.name for word in words)]
        show(as_markdown(outcomes(wanted, show)))
        return 0
    figures, wrong, odd = check("--write" in arguments, show)
    show("\n".join([*(f"odd: {text}" for text in odd), *wrong, figures]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
