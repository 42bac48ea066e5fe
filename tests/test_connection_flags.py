"""The Temporal CLI's connection flags, on our commands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer
from google.protobuf import json_format
from temporalio.api.common.v1 import Payloads
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import TLSConfig
from typer.main import get_command
from typer.testing import CliRunner

from counterstep.cli import app
from counterstep.serving import ConnectionFlags, StartError, connect_config, decoding
from counterstep.serving._remote_codec import RemoteCodec
from flows import load_modules, start
from tests import canary as flows
from tests.conftest import Serve
from tests.support import binary, new_id
from worker import Settings, _only, connect, make_worker, worker

COMMANDS = ("worker", "gateway", "report", "watch", "export", "doctor", "undo", "replay")
NOT_OURS = {
    *("--color", "--command-timeout", "--help", "--log-format", "--log-level"),
    *("--no-json-shorthand-payloads", "--output", "--time-format"),
}
"""The CLI's global options that say how it writes and how long it lives."""


class CodecServer(BaseHTTPRequestHandler):
    """Encrypts and decodes as the tests' converter does."""

    asked: list[dict[str, str]]

    def do_POST(self) -> None:
        self.asked.append({"path": self.path, **{key.lower(): value for key, value in self.headers.items()}})
        given = self.rfile.read(int(self.headers["Content-Length"]))
        code = flows.Sealed().decode if self.path.endswith("/decode") else flows.Sealed().encode
        coded = asyncio.run(code(json_format.Parse(given, Payloads()).payloads))
        body = json_format.MessageToJson(Payloads(payloads=coded)).encode()
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
def test_every_command_that_connects_has_the_flags(name: str) -> None:
    """Global and connection options of the Temporal CLI that is installed are there, each once, but for its output's."""
    told = subprocess.run([binary("temporal"), "options"], capture_output=True, text=True, check=True).stdout
    wanted = set(re.findall(r"^ *(--[a-z-]+)", told, re.MULTILINE)) - NOT_OURS
    flags = [flag for option in get_command(app).commands[name].params for flag in option.opts]  # type: ignore[attr-defined]
    assert len(wanted) == 25
    assert wanted - set(flags) == set()
    assert len(flags) == len(set(flags))
    assert "-n" in flags


def test_the_workers_script_has_them_too() -> None:
    """`python worker.py` takes what `counterstep worker` takes."""
    script = typer.Typer(add_completion=False)
    script.command()(worker)
    ours = {flag for option in get_command(script).params for flag in option.opts}
    installed = get_command(app).commands["worker"].params  # type: ignore[attr-defined]
    assert ours == {flag for option in installed for flag in option.opts}


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


async def test_histories_replay_by_a_codec_server(
    serve: Serve, task_queue: str, tmp_path: Path, codec: tuple[str, list[dict[str, str]]]
) -> None:
    """A recorded history whose values are encrypted replays where the server decodes them, and says so where none does."""
    async with serve(flows.copy, flows.Inner, data_converter=flows.data_converter) as client:
        handle = await start(client, flows.Inner, "hello", id=new_id(), task_queue=task_queue)
        await handle.result()
        (tmp_path / "kept.json").write_text((await handle.fetch_history()).to_json())
    replay = ["replay", str(tmp_path), "--module", "tests.kit.unsealed"]
    blind = await asyncio.to_thread(CliRunner().invoke, app, replay)
    assert (blind.exit_code, "its values are encoded" in blind.stderr) == (1, True)
    told = await asyncio.to_thread(CliRunner().invoke, app, [*replay, "--codec-endpoint", codec[0]])
    assert (told.exit_code, told.stdout) == (0, "kept (copies-inner@1.0.0): replays, from 4 places\n"), (
        told.stderr
    )


async def test_a_worker_can_use_a_codec_server(
    task_queue: str, dev_address: str, codec: tuple[str, list[dict[str, str]]]
) -> None:
    """With the flag, what its runs get and give is encoded and decoded there: the history has none of it."""
    url, asked = codec
    flags = ConnectionFlags(dev_address, codec_endpoint=url)
    settings = Settings(("tests.canary",), task_queue, flags)
    client = await connect(settings, load_modules(settings.modules))
    async with make_worker(client, settings):
        handle = await start(client, flows.Inner, "hello", id=new_id(), task_queue=task_queue)
        assert await handle.result() == "copy of hello, again"
    plain = await Client.connect(dev_address)
    history = (await plain.get_workflow_handle(handle.id).fetch_history()).to_json()
    assert ("hello" in history, "YmluYXJ5L3NlYWxlZA==" in history) == (False, True)
    assert {one["path"] for one in asked} == {"/encode", "/decode"}


def test_flags_become_the_clients_arguments(tmp_path: Path) -> None:
    """Headers, identity, key, timeout and TLS arrive as given, from files or as they are."""
    (tmp_path / "ca.pem").write_text("CA")
    given = ConnectionFlags(
        grpc_meta=["a=b=c", "d="],
        identity="me",
        api_key="k",
        client_connect_timeout="1m2.5s3ms",
        tls_ca_path=str(tmp_path / "ca.pem"),
        tls_cert_data="CERT",
        tls_key_data="KEY",
        tls_server_name="there",
    )
    assert connect_config(given) == {
        "target_host": "localhost:7233",
        "rpc_metadata": {"a": "b=c", "d": ""},
        "identity": "me",
        "api_key": "k",
        "connect_timeout": timedelta(minutes=1, seconds=2.503),
        "tls": TLSConfig(b"CA", client_cert=b"CERT", client_private_key=b"KEY", domain="there"),
    }


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tls_ca_path": "x", "tls_ca_data": "CA"}, "--tls-ca-path and --tls-ca-data exclude each other"),
    ({"tls_ca_path": "/none.pem"}, "can't read /none.pem: No such file or directory"),
    ({"tls_cert_data": "CERT"}, "a client's certificate and its key belong together"),
    ({"grpc_meta": ["oops"]}, "--grpc-meta: 'oops' isn't KEY=VALUE"),
    ({"client_connect_timeout": "5"}, "--client-connect-timeout: '5' is no duration such as 5s or 1m30s"),
    (
        {"tls_disable_host_verification": True},
        "--tls-disable-host-verification: Temporal's Python SDK always",
    ),
    ({"client_authority": "x"}, "--client-authority: Temporal's Python SDK can't set it by itself"),
    ({"env": "prod"}, "there is no environment 'prod' in "),
    ({"profile": "prod"}, "can't read Temporal's configuration: Profile 'prod' not found"),
]


@pytest.mark.parametrize(("flags", "said"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_does_not_fit_is_refused(flags: dict[str, Any], said: str) -> None:
    """What contradicts itself, can't be read, or can't be done by Temporal's Python SDK."""
    with pytest.raises(StartError, match=re.escape(said)):
        connect_config(ConnectionFlags(**flags))


def test_a_command_says_it_in_a_line() -> None:
    """The worker and the others end with exit code 1."""
    for args in (("worker", "--module", "tests.sample"), ("gateway",), ("report", "x")):
        result = CliRunner().invoke(app, [*args, "--client-authority", "x"])
        assert result.exit_code == 1
        assert result.stderr.startswith(f"counterstep {args[0]}: --client-authority: "), result.stderr
        assert result.stderr.count("\n") == 1


TOML = """
[profile.default]
address = "file:1"
namespace = "file"
[profile.default.tls]
server_name = "file"
client_cert_data = "CERT"
client_key_data = "KEY"
[profile.default.codec]
endpoint = "http://file"
auth = "file"
[profile.other]
address = "other:1"
"""
YAML = """
env:
  default:
  prod:
    address: env:1
    grpc-meta: a=b
    tls-server-name: env
    codec-endpoint: http://env
    unknown: 3
"""
VARIABLES = {
    "TEMPORAL_ADDRESS": "var:1",
    "TEMPORAL_GRPC_META_C": "d",
    "TEMPORAL_CODEC_ENDPOINT": "http://var",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be at home in a folder, with both of the CLI's files."""
    folder = tmp_path / ".config/temporalio"
    folder.mkdir(parents=True)
    (folder / "temporal.toml").write_text(TOML)
    (folder / "temporal.yaml").write_text(YAML)
    for name in [name for name in os.environ if name.startswith(("TEMPORAL_", "XDG_CONFIG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def test_what_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags, then the CLI's environments, then variables, then the profile, piece by piece; the last two can be left out."""
    cert = {"client_cert": b"CERT", "client_private_key": b"KEY"}
    file = {"target_host": "file:1", "namespace": "file", "tls": TLSConfig(domain="file", **cert)}
    assert connect_config(ConnectionFlags()) == file
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    with_variables = file | {"target_host": "var:1", "rpc_metadata": {"c": "d"}}
    assert connect_config(ConnectionFlags()) == with_variables
    assert connect_config(ConnectionFlags(env="prod")) == with_variables | {
        "target_host": "env:1",
        "rpc_metadata": {"a": "b", "c": "d"},
        "tls": TLSConfig(domain="env", **cert),
    }
    flags = ConnectionFlags(address="flag:1", env="prod", grpc_meta=["c=x"], tls_server_name="flag")
    assert connect_config(flags) == with_variables | {
        "target_host": "flag:1",
        "rpc_metadata": {"c": "x"},
        "tls": TLSConfig(domain="flag", **cert),
    }
    assert connect_config(ConnectionFlags(disable_config_env=True)) == file
    assert connect_config(ConnectionFlags(disable_config_file=True)) == {
        "target_host": "var:1",
        "rpc_metadata": {"c": "d"},
    }
    neither = ConnectionFlags(disable_config_file=True, disable_config_env=True)
    assert connect_config(neither) == {"target_host": "localhost:7233"}


def test_variables_that_choose_count_always(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which environment, which profile and which files: also under `--disable-config-env`, as for the CLI."""
    (home / "temporal.toml").rename(home / "mine.toml")
    (home / "temporal.yaml").rename(home / "mine.yaml")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(home / "mine.toml"))
    monkeypatch.setenv("TEMPORAL_PROFILE", "other")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "var:1")
    assert connect_config(ConnectionFlags(disable_config_env=True)) == {"target_host": "other:1"}
    monkeypatch.setenv("TEMPORAL_ENV_FILE", str(home / "mine.yaml"))
    monkeypatch.setenv("TEMPORAL_ENV", "prod")
    config = connect_config(ConnectionFlags(disable_config_env=True, disable_config_file=True))
    assert config == {
        "target_host": "env:1",
        "rpc_metadata": {"a": "b"},
        "tls": TLSConfig(domain="env"),
    }


def test_an_embedded_temporal_is_not_missed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--dev`, nothing that says where another Temporal is counts; who asks, and a codec server, do."""
    for name, value in {**VARIABLES, "TEMPORAL_ENV": "prod", "TEMPORAL_TLS": "true"}.items():
        monkeypatch.setenv(name, value)
    given = ConnectionFlags(
        "there:1", "ns", tls=True, api_key="k", identity="me", codec_endpoint="http://flag"
    )
    here = _only("127.0.0.1:1", given)
    wanted = {"target_host": "127.0.0.1:1", "namespace": "default", "identity": "me"}
    assert connect_config(here) == wanted
    converter = decoding(here, None)
    assert converter is not None and converter.payload_codec == RemoteCodec("http://flag", "default")


def test_which_codec_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile's, a variable's, an environment's, a flag's; only a flag's takes the place of a module's own codec."""

    def codec(module: DataConverter | None = None, **flags: Any) -> tuple[str, str | None] | None:
        made = decoding(ConnectionFlags(**flags), module)
        asked = made and made.payload_codec
        return (
            (asked.endpoint, asked.headers.get("Authorization")) if isinstance(asked, RemoteCodec) else None
        )

    assert codec() == ("http://file", "file")
    monkeypatch.setenv("TEMPORAL_CODEC_ENDPOINT", "http://var")
    assert codec(codec_auth="flag") == ("http://var", "flag")
    assert codec(env="prod") == ("http://env", "file")
    assert codec(codec_endpoint="http://flag") == ("http://flag", "file")
    assert codec(disable_config_env=True) == ("http://file", "file")
    assert codec(disable_config_env=True, disable_config_file=True) is None
    assert codec(flows.data_converter) is None
    assert codec(flows.data_converter, codec_endpoint="http://flag") == ("http://flag", "file")


BROKEN = {
    "env: [": "can't read Temporal's environments in {file}: while parsing",
    "env: 3": "can't read Temporal's environments in {file}: 'int' object has no attribute 'values'",
    "env: {default: 3}": "can't read Temporal's environments in {file}: env isn't a table of tables",
    "env: {default: {tls: maybe}}": "tls in {file}: 'maybe' is neither true nor false",
    "env: {default: {client-authority: x}}": "--client-authority: Temporal's Python SDK can't",
}


@pytest.mark.parametrize("text", BROKEN)
def test_broken_files_are_named(home: Path, text: str) -> None:
    """A file of environments that can't be read, and one that asks for what can't be done."""
    (home / "temporal.yaml").write_text(text)
    with pytest.raises(StartError, match=re.escape(BROKEN[text].format(file=home / "temporal.yaml"))):
        connect_config(ConnectionFlags())


def test_a_broken_profile_file_is_named(home: Path) -> None:
    """The codec's part of it is read by ourselves, and says the same."""
    (home / "temporal.toml").write_text("[")
    for asked in (lambda: connect_config(ConnectionFlags()), lambda: decoding(ConnectionFlags(), None)):
        with pytest.raises(StartError, match="can't read Temporal's configuration: "):
            asked()


CHOICES: list[tuple[dict[str, str], list[str]]] = [
    ({}, ["--env", "prod"]),
    ({"TEMPORAL_ENV": "prod"}, []),
    ({"TEMPORAL_ENV": "prod"}, ["--disable-config-env"]),
    ({"TEMPORAL_ENV": "prod", "TEMPORAL_ADDRESS": "127.0.0.1:4"}, []),
    ({"TEMPORAL_ENV": "prod"}, ["--address", "127.0.0.1:5"]),
    ({}, ["--disable-config-file", "--env", "prod"]),
    ({"TEMPORAL_ADDRESS": "127.0.0.1:4"}, []),
    ({"TEMPORAL_ADDRESS": "127.0.0.1:4"}, ["--disable-config-env"]),
    ({"TEMPORAL_ADDRESS": "127.0.0.1:4"}, ["--disable-config-file"]),
    ({"TEMPORAL_PROFILE": "other"}, ["--disable-config-env"]),
    ({}, ["--profile", "other"]),
    ({}, ["--env", "nosuch"]),
    ({}, ["--profile", "nosuch"]),
]


@pytest.mark.parametrize(("variables", "args"), CHOICES, ids=str)
def test_they_lead_where_the_cli_goes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], args: list[str]
) -> None:
    """The same files, variables and flags: the real `temporal` tries the same address, or refuses as well."""
    (home / "temporal.toml").write_text(
        '[profile.default]\naddress = "127.0.0.1:1"\n[profile.other]\naddress = "127.0.0.1:2"\n'
    )
    (home / "temporal.yaml").write_text("env:\n  prod:\n    address: 127.0.0.1:3\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    command = [binary("temporal"), "workflow", "list", "--client-connect-timeout", "2s", *args]
    theirs = re.search(r"127\.0\.0\.1:\d", subprocess.run(command, capture_output=True, text=True).stderr)
    ours = CliRunner().invoke(app, ["report", "x", *args])
    assert ours.exit_code == 1
    found = re.search(r"127\.0\.0\.1:\d", ours.stderr)
    assert (found and found[0]) == (theirs and theirs[0]), ours.stderr
    assert (found is None) == ("nosuch" in args)
