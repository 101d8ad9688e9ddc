"""docs/partner-live-sync.md is true: a real answer has the members and headers that it names; its script runs."""

import json
import re

from tests.flows.fleet import poll
from tests.flows.test_live_endpoint import LIVE, printed_script
from tests.server import REPOSITORY, Server

GUIDE = (REPOSITORY / "docs" / "partner-live-sync.md").read_text()


def test_its_script_is_the_one_that_runs_unchanged() -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    assert script == printed_script().replace("tc.panguard.ai", "threatcloud.corp.example")


def test_its_example_has_the_members_of_a_real_answer(official: Server) -> None:
    (example,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL))
    with official.client(official.issue("partner")) as partner:
        answer = poll(partner, LIVE)
    assert list(answer.json()) == list(example)
    assert list(answer.json()["data"][0]) == list(example["data"][0])
    assert list(answer.json()["meta"]) == list(example["meta"])


def test_its_headers_are_those_of_a_real_answer_and_of_a_304(official: Server) -> None:
    table = GUIDE.partition("## Validators")[2].partition("\n\nNo two sets")[0]
    named = {name.lower() for name in re.findall(r"^\| `([A-Z][A-Za-z-]+)` \|", table, re.MULTILINE)}
    assert len(named) == 5
    with official.client(official.issue("partner")) as partner:
        answer = poll(partner, LIVE)
        unchanged = poll(partner, LIVE, **{"If-None-Match": answer.headers["etag"]})
    assert unchanged.status_code == 304
    assert named <= answer.headers.keys()
    assert named <= unchanged.headers.keys()
