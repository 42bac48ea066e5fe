"""The Temporal CLI's connection flags, on our commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payloads
from typer.main import get_command
from typer.testing import CliRunner

from counterstep._connection import Connection, Refused
from counterstep.cli import app
from flows import start
from tests import canary as flows
from tests.conftest import Serve
from tests.support import new_id

FLAGS = {
    "--address", "--namespace", "--profile", "--config-file", "--api-key", "--tls", "--tls-ca-path", "--tls-cert-path",
    "--tls-key-path", "--tls-ca-data", "--tls-cert-data", "--tls-key-data", "--tls-server-name", "--grpc-meta",
    "--identity", "--codec-endpoint", "--codec-auth", "--codec-header", "--module",
}  # fmt: skip
COMMANDS = ("report", "watch", "doctor", "undo")


class CodecServer(BaseHTTPRequestHandler):
    """Decodes what the tests' converter encrypts."""

    asked: list[dict[str, str]]

    def do_POST(self) -> None:
        self.asked.append({"path": self.path, **{key.lower(): value for key, value in self.headers.items()}})
        given = self.rfile.read(int(self.headers["Content-Length"]))
        decoded = asyncio.run(flows.Sealed().decode(json_format.Parse(given, Payloads()).payloads))
        body = json_format.MessageToJson(Payloads(payloads=decoded)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def codec() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A codec server; gives its address, and what it was asked."""
    asked: list[dict[str, str]] = []
    handler = type("_Codec", (CodecServer,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_asks_has_the_flags(name: str) -> None:
    """All flags of the CLI's connection are there, each once."""
    flags = [flag for option in get_command(app).commands[name].params for flag in option.opts]  # type: ignore[attr-defined]
    assert set(flags) >= FLAGS
    assert len(flags) == len(set(flags))


async def test_a_codec_server_decodes_what_is_shown(
    serve: Serve, task_queue: str, dev_address: str, codec: tuple[str, list[dict[str, str]]]
) -> None:
    """A report of an encrypted run shows its values; the server gets namespace, authorization and headers."""
    url, asked = codec
    async with serve(flows.copy, flows.Inner, data_converter=flows.data_converter) as client:
        handle = await start(client, flows.Inner, "hello", id=new_id(), task_queue=task_queue)
        assert await handle.result() == "copy of hello, again"
    connection = ["--address", dev_address, "--grpc-meta", "x-team=ops", "--identity", "me", "--json"]
    decoding = [
        "--codec-endpoint",
        f"{url}/{{namespace}}",
        "--codec-auth",
        "Bearer t",
        "--codec-header",
        "x-a=b=c",
    ]
    told = await asyncio.to_thread(CliRunner().invoke, app, ["report", handle.id, *connection, *decoding])
    assert told.exit_code == 0, told.stderr
    step = json.loads(told.stdout)["children"][0]
    assert (step["input"], step["output"]) == ("hello", "copy of hello, again")
    first = asked[0]
    wanted = {"path": "/default/decode", "x-namespace": "default", "authorization": "Bearer t", "x-a": "b=c"}
    assert {key: first[key] for key in wanted} == wanted
    gone = ["--codec-endpoint", "http://127.0.0.1:1"]
    failed = await asyncio.to_thread(CliRunner().invoke, app, ["report", handle.id, *connection, *gone])
    said = "counterstep report: can't reach the codec server http://127.0.0.1:1/decode: "
    assert (failed.exit_code, failed.stderr.startswith(said), failed.stdout) == (1, True, "")


def test_flags_become_the_clients_arguments(tmp_path: Path) -> None:
    """Headers, identity, key and TLS arrive as given, from files or as they are; both at once is refused."""
    (tmp_path / "ca.pem").write_text("CA")
    given = Connection(
        grpc_meta=["a=b=c", "d="],
        identity="me",
        api_key="k",
        tls_ca_path=tmp_path / "ca.pem",
        tls_cert_data="CERT",
    )
    more = given._more()
    assert (more["rpc_metadata"], more["identity"], more["api_key"]) == ({"a": "b=c", "d": ""}, "me", "k")
    assert (more["tls"].server_root_ca_cert, more["tls"].client_cert) == (b"CA", b"CERT")
    with pytest.raises(Refused, match="--tls-ca-path and --tls-ca-data exclude each other"):
        Connection(tls_ca_path=tmp_path / "ca.pem", tls_ca_data="CA")._more()
    with pytest.raises(Refused, match="--grpc-meta: 'oops' isn't KEY=VALUE"):
        Connection(grpc_meta=["oops"])._more()
