"""Who may do what: tokens and their permissions, client certificates, and no open door by mistake."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    DeleteOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    WaitOperationRequest,
)
from google.longrunning.operations_pb2_grpc import OperationsStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from temporalio.client import Client

from counterstep.gateway import GatewaySettings, GatewayStartError, Permission, gateway
from tests.gateway.certificates import Authority
from tests.gateway.conftest import Gate, Served

METHODS: dict[str, tuple[Any, str]] = {
    "GetOperation": (GetOperationRequest(name="operations/none"), "read"),
    "WaitOperation": (WaitOperationRequest(name="operations/none"), "read"),
    "ListOperations": (ListOperationsRequest(filter="definition=none"), "read"),
    "CancelOperation": (CancelOperationRequest(name="operations/none"), "cancel"),
    "DeleteOperation": (DeleteOperationRequest(name="operations/none"), "cancel"),
}
ROUTES = [
    ("GET", "/v1/operations/none", "read"),
    ("GET", "/v1/operations?filter=definition=none", "read"),
    ("POST", "/v1/operations/none:wait", "read"),
    ("GET", "/metrics", "read"),
    ("POST", "/v1/operations/none:cancel", "cancel"),
    ("DELETE", "/v1/operations/none", "cancel"),
    ("POST", "/v1/flows/none:run", "start"),
]


def tokens(folder: Path) -> Path:
    """Write a file with one token for each permission, and one for all; each is called as it may do."""
    rows = [(str(one), [str(one)]) for one in Permission] + [("all", [str(one) for one in Permission])]
    file = folder / "tokens.toml"
    file.write_text(
        "\n".join(
            f'[[token]]\nname = "{name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\nallow = {allow}\n'
            for name, allow in rows
        )
    )
    return file


async def grpc_code(served: Served, method: str, token: str | None) -> str:
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    try:
        await getattr(served.stub, method)(METHODS[method][0], metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def test_every_method_asks_for_its_permission(unworked: Gate, tmp_path: Path) -> None:
    """gRPC and HTTP: no token and unknown ones are UNAUTHENTICATED; the wrong permission is PERMISSION_DENIED."""
    async with unworked(tokens=tokens(tmp_path)) as served:
        for method, (_, needed) in METHODS.items():
            through = "OK" if method == "ListOperations" else "NOT_FOUND"
            for token in ("read", "cancel", "start", "all"):
                expected = through if token in (needed, "all") else "PERMISSION_DENIED"
                assert (method, token, await grpc_code(served, method, token)) == (method, token, expected)
            for wrong in (None, "", "unknown", "ALL", "all\u00e9".encode().decode("latin-1")[:3] + "x"):
                assert (method, wrong, await grpc_code(served, method, wrong)) == (
                    method,
                    wrong,
                    "UNAUTHENTICATED",
                )
        for verb, path, needed in ROUTES:
            for token in ("read", "cancel", "start", "all"):
                headers = {"authorization": f"Bearer {token}"}
                status = (await served.http.request(verb, path, headers=headers)).status_code
                assert (path, token, status == 403) == (path, token, token not in (needed, "all"))
                assert status != 401
            for header in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic all"}):
                answer = await served.http.request(verb, path, headers=header)
                assert (path, answer.status_code) == (path, 401)
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_health_reflection_and_openapi_need_no_token(unworked: Gate, tmp_path: Path) -> None:
    """Probes and tools come without one."""
    async with unworked(tokens=tokens(tmp_path)) as served:
        assert (await served.http.get("/healthz")).status_code == 200
        assert (await served.http.get("/openapi.json")).status_code == 200
        health = health_pb2_grpc.HealthStub(served.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="google.longrunning.Operations"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        names = [
            one.name async for answer in stub.ServerReflectionInfo(asked)
            for one in answer.list_services_response.service
        ]  # fmt: skip
        assert "google.longrunning.Operations" in names


async def test_callers_without_a_token_may_do_what_is_allowed(unworked: Gate) -> None:
    """On loopback, with `allow` of read alone: cancel is PERMISSION_DENIED."""
    async with unworked(allow=frozenset({Permission.READ})) as served:
        assert await grpc_code(served, "GetOperation", None) == "NOT_FOUND"
        assert await grpc_code(served, "CancelOperation", None) == "PERMISSION_DENIED"
        assert (await served.http.post("/v1/flows/plain:run", json=1)).status_code == 403


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"listen": "0.0.0.0:0"}, "0.0.0.0:0 can be reached from elsewhere: give --tokens, or --tls-cert"),
        ({"http": "[::]:0"}, "[::]:0 can be reached from elsewhere"),
        ({"http": "example.org:80"}, "example.org:80 can be reached from elsewhere"),
        ({"listen": "7250"}, "--listen: '7250' isn't HOST:PORT"),
        ({"listen": "127.0.0.1:x"}, "--listen: '127.0.0.1:x' isn't HOST:PORT"),
        ({"tokens": Path("/none.toml")}, "can't read /none.toml: No such file or directory"),
        ({"cert": Path("x")}, "--tls-cert and --tls-key belong together"),
        ({"client_ca": Path("x")}, "--tls-cert and --tls-key belong together"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_gateway_that_would_be_open_or_broken_does_not_start(
    dev_address: str, settings: dict[str, Any], said: str
) -> None:
    """One line says what to give."""
    client = await Client.connect(dev_address, lazy=True)
    made = GatewaySettings(**{"listen": "127.0.0.1:0", "http": "127.0.0.1:0", **settings})
    with pytest.raises(GatewayStartError) as raised:
        async with gateway(client, made):
            pass
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no [[token]]"),
        ("[[token", "isn't TOML"),
        ('[[token]]\nsha256 = "secret"\nallow = []', "token 1: sha256 must be 64 hex digits"),
        (f'[[token]]\nsha256 = "{sha256().hexdigest()}"', "token 1: sha256 is that of an empty token"),
        (f'[[token]]\nsha256 = "{"0" * 64}"', "token 1: allow must be a list of permissions"),
        (f'[[token]]\nsha256 = "{"0" * 64}"\nallow = ["write"]', "token 1: 'write' is no permission"),
    ],
)
def test_a_token_file_that_is_wrong_says_where(tmp_path: Path, text: str, said: str) -> None:
    """Which token, and what it lacks; its content isn't repeated."""
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    with pytest.raises(GatewayStartError) as raised:
        GatewaySettings(tokens=file).access()
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


TLS = [
    ("cert", "garbage", "ours.pem and gateway.key aren't a certificate chain and its key"),
    ("cert", None, "can't read ours.pem: No such file or directory"),
    ("key", "garbage", "gateway.pem and ours.key aren't a certificate chain and its key"),
    ("key", "theirs", "gateway.pem and ours.key aren't a certificate chain and its key"),
    ("client_ca", "garbage", "ours.pem holds no certificate, as PEM"),
    ("client_ca", None, "can't read ours.pem: No such file or directory"),
]


@pytest.mark.parametrize("listen", [None, "127.0.0.1:0"], ids=["http", "both"])
@pytest.mark.parametrize(("which", "what", "said"), TLS, ids=[f"{which} {what}" for which, what, _ in TLS])
async def test_certificates_that_can_t_be_used_are_named(
    dev_address: str, tmp_path: Path, listen: str | None, which: str, what: str | None, said: str
) -> None:
    """Before anything listens, and in one line with the file's name, whatever is served."""
    authority = Authority(tmp_path, "ours")
    host, other = authority.sign("gateway"), authority.sign("theirs")
    files = {"cert": host.cert, "key": host.key, "client_ca": authority.cert}
    files[which] = tmp_path / ("ours.key" if which == "key" else "ours.pem")
    if what is None:
        files[which].unlink()
    else:
        files[which].write_text(other.key.read_text() if what == "theirs" else what)
    client = await Client.connect(dev_address, lazy=True)
    with pytest.raises(GatewayStartError) as raised:
        async with gateway(client, GatewaySettings(listen, "127.0.0.1:0", **files)):
            pass
    assert str(raised.value).replace(f"{tmp_path}/", "").startswith(said)


async def test_http_that_ends_before_it_began_is_an_error(
    dev_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing says that it serves, and its own error is the reason."""

    async def startup(self: Any, sockets: Any = None) -> None:
        raise OSError("no descriptors")

    monkeypatch.setattr("uvicorn.Server.startup", startup)
    client = await Client.connect(dev_address, lazy=True)
    with pytest.raises(GatewayStartError, match=r"can't serve HTTP on 127\.0\.0\.1:0: no descriptors"):
        async with gateway(client, GatewaySettings(None, "127.0.0.1:0")):
            pass


async def test_every_loopback_address_can_be_called(unworked: Gate) -> None:
    """What --http takes without tokens is also a name that requests may call it by; another name isn't."""
    async with unworked(http="127.0.0.2:0") as served:
        for host, status in ((None, 404), ("localhost:1", 404), ("evil.example", 403), ("10.0.0.1", 403)):
            headers = {"host": host} if host else {}
            answer = await served.http.get("/v1/operations/none", headers=headers)
            assert (host, answer.status_code) == (host, status)


async def test_client_certificates_are_required_and_checked(
    dev_address: str, task_queue: str, tmp_path: Path
) -> None:
    """With a client CA: no certificate, or one of another authority, gets no connection; a signed one does."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    host, friend, foe = ours.sign("gateway"), ours.sign("friend"), theirs.sign("foe")
    client = await Client.connect(dev_address)
    settings = GatewaySettings(
        "127.0.0.1:0", "127.0.0.1:0", task_queue, cert=host.cert, key=host.key, client_ca=ours.cert
    )
    async with gateway(client, settings) as served:
        assert str(served.http).startswith("https://")
        for pair, expected in ((friend, "NOT_FOUND"), (foe, "UNAVAILABLE"), (None, "UNAVAILABLE")):
            key, cert = (pair.key.read_bytes(), pair.cert.read_bytes()) if pair else (None, None)
            credentials = grpc.ssl_channel_credentials(ours.cert.read_bytes(), key, cert)
            async with grpc.aio.secure_channel(str(served.grpc), credentials) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await OperationsStub(channel).GetOperation(GetOperationRequest(name="operations/none"))
                assert raised.value.code().name == expected
            context = ssl.create_default_context(cafile=str(ours.cert))
            if pair:
                context.load_cert_chain(pair.cert, pair.key)
            async with httpx.AsyncClient(base_url=str(served.http), verify=context) as http:
                if expected == "NOT_FOUND":
                    assert (await http.get("/v1/operations/none")).status_code == 404
                    headers = {"origin": "https://evil.example"}
                    assert (await http.get("/v1/operations/none", headers=headers)).status_code == 403
                else:
                    with pytest.raises(httpx.TransportError):
                        await http.get("/v1/operations/none")


async def test_certificates_have_permissions_of_their_own(
    dev_address: str, task_queue: str, tmp_path: Path
) -> None:
    """Over gRPC and HTTP: the reader reads and can't cancel, the boss does both, a signed stranger nothing."""
    authority = Authority(tmp_path, "ours")
    host = authority.sign("gateway")
    file = tmp_path / "callers.toml"
    file.write_text(
        '[[certificate]]\nname = "reader"\nallow = ["read"]\n[[certificate]]\nname = "boss"\nallow = ["read", "cancel"]\n'
    )
    settings = GatewaySettings(
        "127.0.0.1:0", "127.0.0.1:0", task_queue, file, cert=host.cert, key=host.key, client_ca=authority.cert
    )
    expected = {"reader": ("NOT_FOUND", "PERMISSION_DENIED"), "boss": ("NOT_FOUND", "NOT_FOUND"),
                "stranger": ("PERMISSION_DENIED", "PERMISSION_DENIED")}  # fmt: skip
    async with gateway(await Client.connect(dev_address), settings) as served:
        for name, codes in expected.items():
            pair = authority.sign(name)
            credentials = grpc.ssl_channel_credentials(
                authority.cert.read_bytes(), pair.key.read_bytes(), pair.cert.read_bytes()
            )
            context = ssl.create_default_context(cafile=str(authority.cert))
            context.load_cert_chain(pair.cert, pair.key)
            async with (
                grpc.aio.secure_channel(str(served.grpc), credentials) as channel,
                httpx.AsyncClient(base_url=str(served.http), verify=context) as http,
            ):
                for method, code in zip(("GetOperation", "CancelOperation"), codes, strict=True):
                    with pytest.raises(grpc.aio.AioRpcError) as raised:
                        await getattr(OperationsStub(channel), method)(METHODS[method][0])
                    assert (name, method, raised.value.code().name) == (name, method, code)
                got, cancelled = (
                    await http.get("/v1/operations/none"),
                    await http.post("/v1/operations/none:cancel"),
                )
                statuses = tuple(answer.json()["error"]["status"] for answer in (got, cancelled))
                assert (name, statuses) == (name, codes)


def test_named_certificates_need_an_authority(tmp_path: Path) -> None:
    """Without --tls-client-ca nobody checks certificates, so the gateway doesn't start."""
    file = tmp_path / "callers.toml"
    file.write_text('[[certificate]]\nname = "reader"\nallow = ["read"]\n')
    with pytest.raises(GatewayStartError, match="give --tls-client-ca"):
        GatewaySettings(tokens=file).access()
