"""Who may ask the app, under which name and from which page: hosts, origins, proxies and the headers of all answers."""

import json
import os
import re

import pytest
from app_calls import ask, call

from exprgan.ui.server import hosts, response_headers
from exprgan.ui.server.hosts import HostPolicy
from exprgan.ui.server.path_alias import ALIAS

SPACE = {"SPACE_ID": "someone/faces", "SPACE_HOST": "someone-faces.hf.space"}


def client_of(policy, peer, *forwarded):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return policy.client({"type": "http", "client": (peer, 1), "headers": headers})


def test_a_client_is_named_by_its_address_and_by_a_proxy_only_where_there_is_one():
    plain, one, two = HostPolicy(), HostPolicy(proxies=1), HostPolicy(proxies=2)
    assert client_of(plain, "192.0.2.1", "198.51.100.7") == "192.0.2.1"
    assert client_of(one, "10.0.0.1", "198.51.100.7") == "198.51.100.7"
    assert client_of(one, "10.0.0.1", "1.2.3.4, 198.51.100.7") == "198.51.100.7"  # the first was written by the client
    assert client_of(one, "10.0.0.1", "1.2.3.4", "198.51.100.7") == "198.51.100.7"
    assert client_of(one, "10.0.0.1", "198.51.100.7, 192.168.1.5") == "192.168.1.5"
    assert client_of(two, "10.0.0.1", "1.2.3.4, 198.51.100.7, 203.0.113.1") == "198.51.100.7"
    assert client_of(two, "10.0.0.1", "198.51.100.7") == "198.51.100.7" and client_of(one, "10.0.0.1") == "10.0.0.1"
    space = HostPolicy.from_environment(SPACE)
    assert client_of(space, "10.0.0.1", "1.2.3.4, 8.8.8.8, 10.20.0.5") == "8.8.8.8"


def test_an_ipv6_client_is_its_network():
    assert (
        client_of(HostPolicy(), "2001:db8:1:2:3:4:5:6") == client_of(HostPolicy(), "2001:db8:1:2::9") == "2001:db8:1:2::/64"
    )
    assert client_of(HostPolicy(), "2001:db8:1:3::9") == "2001:db8:1:3::/64"
    assert client_of(HostPolicy(), "::ffff:192.0.2.1") == "192.0.2.1"
    assert len(client_of(HostPolicy(proxies=1), "::1", "x" * 1000)) == 64


def test_names_come_from_the_environment():
    local = HostPolicy.from_environment({"EXPRGAN_ALLOWED_HOSTS": "faces.example.org, Other.example"})
    for host in ("localhost:7860", "127.0.0.1", "[::1]:7860", "192.168.1.20:80", "faces.example.org", "OTHER.example:443"):
        assert local.allows(host) and local.allows_origin(f"http://{host}"), host
    for host in ("", "evil.example", "localhost.evil.example", "evil.example:127", "127.0.0.1@evil.example", "127.0.0.1 x",
                 "evil.example/127.0.0.1", "2130706433", "127.0.0.1:x:y"):  # fmt: skip
        assert not local.allows(host), host
    for origin in ("null", "https://", "file://localhost", "https://evil.example", "localhost"):
        assert not local.allows_origin(origin), origin
    space = HostPolicy.from_environment(SPACE)
    assert space.allows("someone-faces.hf.space") and not space.allows("another.hf.space")
    assert (space.proxies, HostPolicy.from_environment({}).proxies) == (1, 0)
    assert HostPolicy.from_environment({"EXPRGAN_ALLOWED_HOSTS": "*"}).allows("any.example")
    assert HostPolicy.from_environment(SPACE | {"EXPRGAN_TRUSTED_PROXIES": "2"}).proxies == 2
    with pytest.raises(ValueError, match="EXPRGAN_TRUSTED_PROXIES must be a whole number from 0, not 'yes'"):
        HostPolicy.from_environment({"EXPRGAN_TRUSTED_PROXIES": "yes"})


def test_another_name_is_refused_with_what_to_do(app_url):
    for path, method in (("/", "GET"), ("/config", "GET"), ("/gradio_api/upload", "POST"), ("/theme.css", "GET")):
        status, _, body = ask(app_url, path, method, b"" if method == "POST" else None, Host="evil.example")
        assert status == 400 and b"EXPRGAN_ALLOWED_HOSTS=evil.example" in body, path
    _, _, body = ask(app_url, "/config", **{"X-Forwarded-Host": "evil.example", "X-Gradio-Server": "http://evil.example"})
    assert b"evil.example" not in body
    _, _, body = ask(app_url, "/", Host="<script>")
    assert b"<script>" not in body


def test_pages_of_other_sites_neither_read_nor_send(app_url):
    for origin in ("https://elsewhere.example", "null", "http://127.0.0.1.elsewhere.example"):
        for path in ("/config", "/gradio_api/info"):
            _, headers, _ = ask(app_url, path, Origin=origin)
            assert not [name for name in headers if name.lower().startswith("access-control-")], (origin, path)
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert "Access-Control-Allow-Origin" not in ask(app_url, "/gradio_api/upload", "OPTIONS", **preflight)[1]
        status, _, body = ask(app_url, "/gradio_api/call/generate", "POST", b"{}", Origin=origin)
        assert (status, json.loads(body)["detail"]) == (403, hosts.FOREIGN_ORIGIN)
    _, headers, _ = ask(app_url, "/config", Origin="http://localhost:3000")
    assert headers["Access-Control-Allow-Origin"] == "http://localhost:3000"


def test_all_answers_say_what_a_browser_may_do(app_url):
    for path, method in (("/", "GET"), ("/config", "GET"), ("/nothing", "GET"), ("/gradio_api/proxy=", "GET"),
                         ("/gradio_api/call/x", "POST")):  # fmt: skip
        _, headers, _ = ask(app_url, path, method, b"" if method == "POST" else None)
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'self'"
        assert policy["object-src"] == "'none'" and "http" not in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "same-origin" and headers["X-Content-Type-Options"] == "nosniff"
        assert "camera=(self)" in headers["Permissions-Policy"] and "microphone=()" in headers["Permissions-Policy"]
    on_space = response_headers.security_headers(HostPolicy.from_environment(SPACE))["Content-Security-Policy"]
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in on_space


def test_no_answer_names_a_folder_of_the_server(app_url, photo):
    folder = os.environ["GRADIO_TEMP_DIR"]
    _, answer = call(app_url, "generate", 1, 1, "happy", 1)
    assert answer.startswith("event: complete") and f'"{ALIAS}/' in answer and photo.startswith(f"{ALIAS}/")
    for body in (answer.encode(), *(ask(app_url, path)[2] for path in ("/", "/config", "/gradio_api/info", "/x"))):
        text = body.decode()
        assert folder not in text and not re.findall(r"""["'=](/(?:tmp|home|root|usr|var)/[^"']*)""", text)
    initial = re.findall(r'"path":"(/visitors/[^"]+)"', ask(app_url, "/config")[2].decode())
    assert len(initial) > 6 and all(ask(app_url, f"/gradio_api/file={path}")[0] == 200 for path in initial)


def test_a_websocket_is_not_served(app_url):
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "x" * 24,
        "Sec-WebSocket-Version": "13",
    }
    assert ask(app_url, "/gradio_api/queue/data", **upgrade)[0] != 101
