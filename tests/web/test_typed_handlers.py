"""Handlers get what their signatures say, or the client a refusal that names what is wrong; answers are enveloped."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter, SkipValidationMarker
from litestar.testing import TestClient
from msgspec import Meta

from app.access.route_guards import public
from app.consensus.errors import Refused, UnknownProposal, UnusableText
from app.http.described import described
from app.http.envelope import Answer
from app.http.paging import Page, cursor_for, page_of_rows, paged
from app.http.requests import Batch, JsonBody, TolerantBody, TolerantKwarg
from app.web.application import serve_handlers
from app.web.openapi import document_of

Json = dict[str, Any]


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"


class Thing(msgspec.Struct, rename="camel"):
    """A body."""

    how_many: Annotated[int, Meta(ge=0)]
    name: Annotated[str, Meta(pattern=r"^[a-z]+\Z")] = "x"
    is_new: bool = False


class Square(msgspec.Struct, tag_field="shape", tag="square"):
    side: int


class Circle(msgspec.Struct, tag_field="shape", tag="circle"):
    radius: int


Shape = Square | Circle


class Asked(msgspec.Struct):
    """What a handler got from the query."""

    color: Color | None
    side: str | None
    only: str | None
    share: float
    flag: bool | None
    since: datetime | None
    text: str | None


@post("/things", guards=[public()])
async def make(data: JsonBody[Thing]) -> Thing:
    """Give the thing back."""
    return data


@post("/shapes", guards=[public()])
async def shape(data: JsonBody[Shape]) -> str:
    """Say its class."""
    return type(data).__name__


@post("/reports", guards=[public()])
async def report(data: TolerantBody[Thing]) -> Thing:
    """Give the thing back."""
    return data


@post("/batches", guards=[public()])
async def batches(
    data: Annotated[Batch[Thing], TolerantKwarg(member="things"), SkipValidationMarker()],
) -> Answer[list[Thing]]:
    """Give the things back, and how many were left out."""
    return Answer(data.items, meta={"skipped": data.skipped})


@get("/asked", guards=[public()])
async def asked(
    color: FromQuery[Color | None] = None,
    side: Annotated[Literal["left", "right"] | None, QueryParameter(description="left or right")] = None,
    only: Annotated[Literal["this"] | None, QueryParameter(name="onlyThis")] = None,
    share: Annotated[float, QueryParameter(ge=0, le=100)] = 0.5,
    flag: FromQuery[bool | None] = None,
    since: FromQuery[datetime | None] = None,
    text: Annotated[str | None, QueryParameter(min_length=1, max_length=5)] = None,
) -> Asked:
    """Say what was asked."""
    return Asked(color, side, only, share, flag, since, text)


@get("/needed", guards=[public()])
async def needed(serial: Annotated[int, QueryParameter(name="from", ge=1, le=999)]) -> int:
    """Say the serial."""
    return serial


@get("/rows", guards=[public()], dependencies=paged(1))
async def rows(page: NamedDependency[Page]) -> Answer[list[int]]:
    """Number from 1 to 5."""
    after = int(page.after[0]) if page.after else 0
    return page_of_rows(list(range(after + 1, 6))[: page.limit + 1], page, lambda row: (str(row),))


@post("/either", guards=[public()], responses={200: ResponseSpec(Thing, generate_examples=False)})
async def either(data: JsonBody[Thing]) -> Answer[Thing]:
    """Make a thing (201), or know it already (200)."""
    return Answer(data, status_code=201 if data.is_new else 200)


@get("/bare", guards=[public()])
async def bare() -> Response[Thing]:
    """Answer without an envelope."""
    return Response(Thing(how_many=1))


@get("/prepared", **described(list[Thing], conditional=True, query={"color": Color}, opt={"guard": public()}))
async def prepared() -> Response[bytes]:
    """Answer with bytes."""
    return Response(b"{}")


@get("/refused/{number:int}", guards=[public()])
async def refuse(number: FromPath[int]) -> None:
    """Refuse."""
    raise [UnknownProposal("There is none."), Refused("Not now.", status="draft"), UnusableText("is empty")][
        number
    ]


HANDLERS = [make, shape, report, batches, asked, needed, rows, either, bare, prepared, refuse]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Any]]:
    with TestClient(serve_handlers(HANDLERS)) as made:
        yield made


def error(response: Any, status: int = 400) -> Json:
    assert response.status_code == status, response.text
    assert response.headers["cache-control"] == "no-store"
    body: Json = response.json()
    assert body.pop("ok") is False
    return body


@pytest.mark.parametrize(
    "kind", ["application/json", "", "text/plain", "multipart/form-data; boundary=x", "a/b; c"]
)
def test_a_body_is_json_whatever_it_is_called(client: TestClient[Any], kind: str) -> None:
    response = client.post("/things", content=b'{"howMany": 7, "more": 1}', headers={"content-type": kind})
    assert response.status_code == 201
    assert response.text == '{"ok":true,"data":{"howMany":7,"name":"x","isNew":false},"request_id":""}'
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"


BODIES = {
    b"": "The request needs a JSON body.",
    b"{": "The body is not JSON: Expecting property name enclosed in double quotes (line 1, column 2).",
    b'{"howMany": 1, "howMany": 2}': 'The body has the key "howMany" twice in one object.',
    rb'{"name": "\u0000", "howMany": 1}': "The body has a NUL character (\\u0000) in a string.",
    rb'{"name": "\ud800", "howMany": 1}': "The body has a lone surrogate (\\ud800 to \\udfff without its pair).",
    b'{"howMany": NaN}': "The body has NaN, which is not JSON.",
    b'{"howMany": ' + b"1" * 31 + b"}": "The body has a number of 31 characters; at most 30.",
    b'{"howMany": 1e999}': 'The body has a number that is too large or too long: "1e999".',
    b"\xff": "The body is not UTF-8 (byte 0).",
    b"[" * 100_000: "The body is nested too deeply.",
    b"[]": "The body must be a JSON object, not a list.",
    b"null": "The body must be a JSON object, not null.",
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: ascii(body[:20]))
def test_a_body_that_cannot_be_trusted(client: TestClient[Any], body: bytes) -> None:
    assert error(client.post("/things", content=body))["error"] == BODIES[body]


FIELDS = {
    b"{}": ("howMany", "howMany: object missing required field `howMany`"),
    b'{"howMany": "7"}': ("howMany", "howMany: expected `int`, got `str`"),
    b'{"howMany": 7.0}': ("howMany", "howMany: expected `int`, got `float`"),
    b'{"howMany": -1}': ("howMany", "howMany: expected `int` >= 0"),
    b'{"howMany": 1, "isNew": "true"}': ("isNew", "isNew: expected `bool`, got `str`"),
    b'{"howMany": 1, "name": "a\\n"}': ("name", None),
}


@pytest.mark.parametrize("body", FIELDS, ids=ascii)
def test_a_field_that_is_not_as_declared(client: TestClient[Any], body: bytes) -> None:
    field, sentence = FIELDS[body]
    response = client.post("/things", content=body)
    refused = error(response)
    assert refused["detail"] == {"field": field}
    assert sentence is None or refused["error"] == sentence


def test_a_field_may_be_of_one_of_several_types(client: TestClient[Any]) -> None:
    assert client.post("/shapes", json={"shape": "circle", "radius": 1}).json()["data"] == "Circle"
    assert error(client.post("/shapes", json={"shape": "x"}))["detail"] == {"field": "shape"}


def test_a_report_is_read_as_real_clients_send_it(client: TestClient[Any]) -> None:
    assert client.post("/reports", json='{"howMany": "7"}').json()["data"]["howMany"] == 7
    assert error(client.post("/reports", content=b""))["error"] == "The request needs a JSON body."
    assert error(client.post("/reports", json=[]))["error"] == "The body must be a JSON object, not a list."
    for sent in ([{"howMany": 1}, 7], {"things": [{"howMany": 1}, 7]}):
        body = client.post("/batches", json=sent).json()
        assert (body["data"][0]["howMany"], body["meta"]) == (1, {"skipped": 1})
    assert client.post("/batches", json={"howMany": 1}).json()["meta"] == {"skipped": 0}


def test_a_query_is_what_is_declared(client: TestClient[Any]) -> None:
    nothing = dict.fromkeys(("color", "side", "only", "flag", "since", "text"))
    assert client.get("/asked").json()["data"] == nothing | {"share": 0.5}
    query = "color=red&side=left&onlyThis=this&share=7&flag=true&since=2026-04-17&text=null&unknown=1"
    assert client.get(f"/asked?{query}").json()["data"] == {
        "color": "red",
        "side": "left",
        "only": "this",
        "share": 7.0,
        "flag": True,
        "since": "2026-04-17T00:00:00Z",
        "text": "null",
    }
    assert client.get("/asked?color=red&color=mauve").json()["data"]["color"] == "red"
    assert client.get("/needed?from=007").json()["data"] == 7


QUERIES = {
    "color=null": "color: one of red, blue, green",
    "color=": "color: one of red, blue, green",
    "side=up": "side: left or right",
    "onlyThis=that": "onlyThis: only this",
    "share=101": "share: a number from 0 to 100",
    "share=nan": "share: a number from 0 to 100",
    "flag=1": "flag: one of true, false",
    "flag=null": "flag: one of true, false",
    "since=null": "since: an instant such as 2027-01-31T00:00:00Z",
    "since=1795236080": "since: an instant such as 2027-01-31T00:00:00Z",
    "text=": "text: 1 to 5 characters",
    "text=123456": "text: 1 to 5 characters",
}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_that_is_not_as_declared(client: TestClient[Any], query: str) -> None:
    refused = error(client.get(f"/asked?{query}"))
    assert refused == {
        "error": QUERIES[query],
        "detail": {"field": query.partition("=")[0]},
        "request_id": "",
    }


@pytest.mark.parametrize(
    "query", ["", "?from=", "?from=0", "?from=1e1", "?from=5.0", "?from=%2B5", "?from=null"]
)
def test_a_number_that_is_needed(client: TestClient[Any], query: str) -> None:
    assert error(client.get(f"/needed{query}"))["error"] == "from: a whole number from 1 to 999"


def test_a_list_is_read_page_by_page(client: TestClient[Any]) -> None:
    seen, cursor = [], ""
    while cursor is not None:
        body = client.get("/rows", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen.append(body["data"])
        cursor = body["meta"]["next"]
    assert seen == [[1, 2], [3, 4], [5]]
    assert client.get("/rows?limit=5").json()["meta"] == {"next": None}
    assert client.get("/rows?limit=007").json()["meta"] == {"next": None}
    for query in ("limit=0", "limit=501", "limit=null", "limit=1.0"):
        assert error(client.get(f"/rows?{query}"))["error"] == "limit: a whole number from 1 to 500"
    for cursor in ("x", cursor_for(("1", "2"))):
        refused = error(client.get("/rows", params={"cursor": cursor}))
        assert refused["error"] == "cursor: not one that this server gave; start without it"


def test_statuses_and_bare_answers(client: TestClient[Any]) -> None:
    assert client.post("/either", json={"howMany": 1, "isNew": True}).status_code == 201
    assert client.post("/either", json={"howMany": 1}).status_code == 200
    assert client.get("/bare").json() == {"howMany": 1, "name": "x", "isNew": False}


def test_a_family_of_errors_has_one_handler(client: TestClient[Any]) -> None:
    assert error(client.get("/refused/0"), 404)["error"] == "There is none."
    assert error(client.get("/refused/1"), 409)["detail"] == {"status": "draft"}
    assert error(client.get("/refused/2"))["error"] == "ruleContent: is empty"


@pytest.fixture(scope="module")
def document() -> Json:
    return document_of(serve_handlers(HANDLERS))


def test_the_document_has_every_parameter(document: Json) -> None:
    parameters = {p["name"]: p for p in document["paths"]["/asked"]["get"]["parameters"]}
    assert parameters["onlyThis"] == {"name": "onlyThis", "in": "query", "schema": {"enum": ["this"]}}
    assert parameters["color"]["schema"] == {"$ref": "#/components/schemas/Color"}
    assert parameters["side"]["description"] == "left or right"
    assert parameters["since"]["schema"] == {"type": "string"}
    assert parameters["share"]["schema"] == {"type": "number", "minimum": 0, "maximum": 100, "default": 0.5}
    paging = {p["name"]: p for p in document["paths"]["/rows"]["get"]["parameters"]}
    assert paging["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    assert paging["cursor"]["schema"] == {"type": "string"}
    assert document["paths"]["/needed"]["get"]["parameters"][0]["required"] is True


def success(document: Json, path: str, method: str, status: str) -> Json:
    schema: Json = document["paths"][path][method]["responses"][status]["content"]["application/json"][
        "schema"
    ]
    return schema


def test_the_document_has_every_answer(document: Json) -> None:
    thing = {"$ref": "#/components/schemas/Thing"}
    for status in ("200", "201"):
        assert success(document, "/either", "post", status)["properties"]["data"] == thing
    assert success(document, "/bare", "get", "200") == thing
    assert document["paths"]["/prepared"]["get"]["responses"].keys() == {"200", "304", "default"}
    data = success(document, "/prepared", "get", "200")["properties"]["data"]
    assert data == {"type": "array", "items": thing}
    assert document["components"]["schemas"]["Thing"]["properties"]["name"]["pattern"] == "^[a-z]+$"


def test_the_document_has_every_body(document: Json) -> None:
    def body(path: str) -> Json:
        schema: Json = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        return schema

    assert body("/things") == {"$ref": "#/components/schemas/Thing"}
    assert body("/shapes")["discriminator"]["propertyName"] == "shape"
    assert body("/reports") == {"$ref": "#/components/schemas/Thing"}
    assert body("/batches") == {"$ref": "#/components/schemas/ThingBatch"}
