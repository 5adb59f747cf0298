"""A fake of the Hub: an HTTP server on loopback that speaks its protocol to the real client, with faults on demand.

It answers the requests that huggingface_hub makes to create, push, tag, list and pull; git history is a list of trees.
"""

import base64
import contextlib
import hashlib
import itertools
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

REPO_TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}
LFS_SUFFIXES = (".safetensors", ".bin", ".npy", ".png", ".jpg")


@dataclass
class Repo:
    """One repository: commits in order, each a complete tree (path -> content), and names for some of them."""

    repo_type: str
    private: bool = False
    gated: bool = False
    granted: tuple[str, ...] = ()  # tokens of those who have access, if it is gated
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)
    hardware: str = ""  # of a Space, as are its variables
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def tree(self) -> dict[str, bytes]:
        return self.commits[self.refs["main"]]

    def commit(self, tree: dict[str, bytes], title: str, ref: str = "main") -> str:
        sha = hashlib.sha1(f"{self.repo_type}{len(self.commits)}{title}".encode()).hexdigest()
        self.commits[sha], self.refs[ref] = tree, sha
        self.titles.append(title)
        return sha

    def find(self, revision: str) -> str | None:
        """Branch, tag or commit -> commit."""
        return {**{sha: sha for sha in self.commits}, **self.tags, **self.refs}.get(revision)


@dataclass
class Response:
    """A response; after `cut` bytes of the body the connection breaks."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class Refusal(Exception):
    """Raised by an endpoint to send an error response."""

    def __init__(self, status: int, **headers: str):
        super().__init__(status)
        self.response = Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class Fault:
    """Changes (or, with `instead`, replaces) the next `times` responses to requests whose "METHOD /path" matches."""

    pattern: str
    change: Callable[[Response], Response]
    times: int
    instead: bool = False


class FakeHub:
    """The server. `with FakeHub() as hub:` runs it at `hub.url`."""

    def __init__(self, tokens: tuple[str, ...] = ("good",)):
        self.tokens, self.redirects = tokens, False
        self.paid_plan = True  # of all accounts; without one, a Space other than a static one can only have ZeroGPU
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}  # SHA-256 -> content
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.sent: list[int] = []  # bytes of each response's body
        self.yaml_errors: list[str] = []
        self.connections: list[socket.socket] = []
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "FakeHub":
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on connections are refused."""
        if self.server.socket.fileno() >= 0:
            self.server.shutdown()
            self.server.server_close()
        for connection in self.connections:  # which the client would reuse
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def add(self, name: str, files: dict[str, bytes], repo_type: str = "model", **settings) -> Repo:
        """Creates a repository with files in it."""
        repo = self.repos[f"{repo_type}/{name}"] = Repo(repo_type, **settings)
        repo.commit(dict(files), "first")
        self.lfs |= {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        return repo

    def fail(self, pattern: str, status: int, *, code: str = "", message: str = "", times: int = 1, **headers: str) -> None:
        """Responds with an error."""
        headers |= {"X_Error_Code": code} if code else {}
        headers |= {"X_Error_Message": message} if message else {}
        self.faults.append(Fault(pattern, lambda _: Refusal(status, **headers).response, times, True))

    def cut(self, pattern: str, keep: int, times: int = 1) -> None:
        """Breaks the connection after `keep` bytes of the body."""
        self.faults.append(Fault(pattern, lambda r: Response(r.status, r.body, r.headers, keep), times))

    def corrupt(self, pattern: str, times: int = 1) -> None:
        """Inverts the last bytes of the body."""

        def change(response: Response) -> Response:
            tail = bytes(byte ^ 255 for byte in response.body[-9:])
            return Response(response.status, response.body[:-9] + tail, response.headers)

        self.faults.append(Fault(pattern, change, times))

    def requests_matching(self, pattern: str) -> list[str]:
        """Returns the requests so far whose "METHOD /path" matches."""
        return [request for request in self.requests if re.search(pattern, request)]


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.hub.connections.append(self.connection)

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.query, self.body = parse_qs(url.query), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {unquote(url.path)}"
        self.hub.requests.append(request)
        fault = next((f for f in self.hub.faults if f.times and re.search(f.pattern, request)), None)
        response = Response(0) if fault and fault.instead else self.respond(request)
        if fault:
            fault.times -= 1
            response = fault.change(response)
        self.send(response)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def respond(self, request: str) -> Response:
        for pattern, endpoint in ROUTES:
            if match := re.fullmatch(pattern, request):
                try:
                    return endpoint(self, **match.groupdict())
                except Refusal as refusal:
                    return refusal.response
        return Response(404)

    def send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.hub.sent.append(len(response.body[: response.cut]))
            self.wfile.write(response.body[: response.cut])
        if response.cut is not None:
            self.close_connection = True

    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def repo(self, kind: str | None, name: str) -> Repo:
        """The requested repository; `kind` is part of the path, such as "datasets/"."""
        if self.token and self.token not in self.hub.tokens:
            raise Refusal(401, X_Error_Message="Invalid credentials in Authorization header")
        repo = self.hub.repos.get(f"{REPO_TYPES[(kind or 'models').rstrip('/')]}/{name}")
        if repo is None or (repo.private and not self.token):
            raise Refusal(404 if self.token else 401, X_Error_Code="RepoNotFound")
        return repo

    def repo_and_commit(self, kind: str | None, name: str, revision: str) -> tuple[Repo, str]:
        repo = self.repo(kind, name)
        if sha := repo.find(revision):
            return repo, sha
        raise Refusal(404, X_Error_Code="RevisionNotFound")

    # The endpoints.

    def create(self) -> Response:
        settings = self.json()
        if self.token not in self.hub.tokens:
            raise Refusal(401, X_Error_Message="Invalid credentials in Authorization header")
        name, repo_type = f"{settings['organization']}/{settings['name']}", settings.get("type", "model")
        info = {"url": f"{self.hub.url}/{name}", "name": name}
        if f"{repo_type}/{name}" in self.hub.repos:
            return json_response(info | {"error": "You already created this repo"}, 409)
        hardware = settings.get("hardware", "cpu-basic") if repo_type == "space" else ""
        if settings.get("sdk", "static") != "static":
            self.check_plan(hardware)
        repo = Repo(repo_type, settings.get("visibility") == "private", hardware=hardware)
        self.hub.repos[f"{repo_type}/{name}"] = repo
        repo.commit({".gitattributes": b""}, "initial commit")
        return json_response(info)

    def check_plan(self, hardware: str) -> None:
        if not self.hub.paid_plan and hardware != "zero-a10g":
            raise Refusal(402, X_Error_Message=f"Subscribe to PRO to host Gradio and Docker Spaces on {hardware}.")

    def runtime(self, name: str) -> Response:
        repo = self.repo("spaces", name)
        if self.command == "POST":
            self.check_plan(hardware := self.json()["flavor"])
            repo.hardware = hardware
        return json_response({"stage": "RUNNING", "hardware": {"current": repo.hardware, "requested": repo.hardware}})

    def variables(self, name: str) -> Response:
        variables = self.repo("spaces", name).variables
        if self.command != "GET":
            change = self.json()
            variables.pop(change["key"]) if self.command == "DELETE" else variables.update({change["key"]: change["value"]})
        return json_response({key: {"key": key, "value": value} for key, value in variables.items()})

    def validate(self) -> Response:
        front = re.match(r"---\n(.*?)\n---\n", self.json()["content"], re.S)
        try:
            values = yaml.safe_load(front[1]) if front else {}
            errors = [] if isinstance(values, dict) and values else [{"message": "no metadata"}]
        except yaml.YAMLError as error:
            errors = [{"message": str(error)}]
        self.hub.yaml_errors += [error["message"] for error in errors]
        return json_response({"errors": errors, "warnings": []}, 400 if errors else 200)

    def whoami(self) -> Response:
        return json_response({"name": "ann", "orgs": []}) if self.token in self.hub.tokens else Response(401)

    def info(self, kind: str, name: str, revision: str | None) -> Response:
        repo, sha = self.repo_and_commit(kind, name, revision or "main")
        siblings = []
        for path, data in repo.commits[sha].items():
            lfs = {"lfs": {"sha256": sha256(data), "size": len(data), "pointerSize": 134}} if is_lfs(path) else {}
            siblings.append({"rfilename": path, "size": len(data), "blobId": git_sha1(data)} | lfs)
        return json_response({"id": name, "sha": sha, "private": repo.private, "gated": repo.gated, "tags": [],
                              "downloads": 0, "siblings": siblings})  # fmt: skip

    def tree(self, kind: str, name: str, revision: str, folder: str | None) -> Response:
        repo, sha = self.repo_and_commit(kind, name, revision)
        files, start = [], f"{folder}/" if folder else ""
        for path, data in repo.commits[sha].items():
            if not path.startswith(start):
                continue
            lfs = {"lfs": {"oid": sha256(data), "size": len(data), "pointerSize": 134}} if is_lfs(path) else {}
            files.append({"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)} | lfs)
        if folder and not files:
            raise Refusal(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        return json_response(files)

    def refs(self, kind: str, name: str) -> Response:
        repo = self.repo(kind, name)
        branches, tags = (
            [{"name": ref, "ref": f"refs/{folder}/{ref}", "targetCommit": sha} for ref, sha in refs.items()]
            for folder, refs in (("heads", repo.refs), ("tags", repo.tags))
        )
        return json_response({"branches": branches, "converts": [], "tags": tags})

    def tag(self, kind: str, name: str, revision: str) -> Response:
        repo, sha = self.repo_and_commit(kind, name, revision)
        if (tag := self.json()["tag"]) in repo.tags:
            return Response(409)
        repo.tags[tag] = sha
        return json_response({})

    def preupload(self, kind: str, name: str, revision: str) -> Response:
        repo, sha = self.repo_and_commit(kind, name, revision)
        files = []
        for path in (file["path"] for file in self.json()["files"]):
            info = {"path": path, "uploadMode": "lfs" if is_lfs(path) else "regular", "shouldIgnore": False}
            if (data := repo.commits[sha].get(path)) is not None:
                info["oid"] = file_hash(path, data)
            files.append(info)
        return json_response({"files": files})

    def batch(self, kind: str | None, name: str) -> Response:
        objects = []
        for info in self.json()["objects"]:
            urls = {"upload": f"{self.hub.url}/lfs/{info['oid']}", "verify": f"{self.hub.url}/lfs/verify"}
            actions = {"actions": {action: {"href": url} for action, url in urls.items()}}
            objects.append(info if info["oid"] in self.hub.lfs else info | actions)
        return json_response({"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> Response:
        if sha256(self.body) != oid:
            return Response(400)
        self.hub.lfs[oid] = self.body
        return Response(200)

    def verify(self) -> Response:
        info = self.json()
        return json_response({}) if len(self.hub.lfs.get(info["oid"], b"")) == info["size"] else Response(404)

    def commit(self, kind: str, name: str, revision: str) -> Response:
        repo, sha = self.repo_and_commit(kind, name, revision)
        lines = [json.loads(line) for line in self.body.decode().splitlines() if line]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, sha):
            return Response(412)
        tree = dict(repo.commits[sha])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.hub.lfs[value["oid"]]
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
        is_pull_request = "create_pr" in self.query
        if is_pull_request:
            revision = next(ref for ref in map("refs/pr/{}".format, itertools.count(1)) if ref not in repo.refs)
        commit = repo.commit(tree, header["summary"], revision)
        info = {
            "success": True,
            "commitOid": commit,
            "commitUrl": f"{self.hub.url}/{name}/commit/{commit}",
            "hookOutput": "",
        }
        pull_request = {"pullRequestUrl": f"{self.hub.url}/{name}/discussions/1"} if is_pull_request else {}
        return json_response(info | pull_request)

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> Response:
        repo, sha = self.repo_and_commit(kind, name, revision)
        if repo.gated and self.token not in repo.granted:
            status = 403 if self.token else 401
            raise Refusal(status, X_Error_Code="GatedRepo", X_Error_Message=f"Access to {name} is restricted.")
        if path not in repo.commits[sha]:
            raise Refusal(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        data, headers = repo.commits[sha][path], {"X-Repo-Commit": sha}
        etag = file_hash(path, data)
        if self.hub.redirects and is_lfs(path):
            location = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{etag}"
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data)), "Location": location}
            return Response(302, b"", headers)
        return self.content(data, headers | {"ETag": f'"{etag}"'})

    def cdn(self, oid: str) -> Response:
        return self.content(self.hub.lfs[oid], {}) if not self.token else Response(400)

    def content(self, data: bytes, headers: dict[str, str]) -> Response:
        """The whole content, or the rest after the position where the connection broke."""
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match[1])
            content_range = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return Response(206, data[start:], headers | content_range)
        return Response(200, data, headers)


def json_response(values, status: int = 200) -> Response:
    return Response(status, json.dumps(values).encode(), {"Content-Type": "application/json"})


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def file_hash(path: str, data: bytes) -> str:
    return sha256(data) if is_lfs(path) else git_sha1(data)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


_API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[\w.-]+/[\w.-]+)"
_REPO = r"/(?P<kind>datasets/|spaces/)?(?P<name>[\w.-]+/[\w.-]+)"
_SPACE = r"/api/spaces/(?P<name>[\w.-]+/[\w.-]+)"
ROUTES = [
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (r"GET /api/whoami-v2", Handler.whoami),
    (rf"GET {_SPACE}/runtime", Handler.runtime),
    (rf"POST {_SPACE}/hardware", Handler.runtime),
    (rf"(?:GET|POST|DELETE) {_SPACE}/variables", Handler.variables),
    (rf"GET {_API}(/revision/(?P<revision>.+))?", Handler.info),
    (rf"GET {_API}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?", Handler.tree),
    (rf"GET {_API}/refs", Handler.refs),
    (rf"POST {_API}/tag/(?P<revision>.+)", Handler.tag),
    (rf"POST {_API}/preupload/(?P<revision>.+)", Handler.preupload),
    (rf"POST {_API}/commit/(?P<revision>.+)", Handler.commit),
    (rf"POST {_REPO}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /lfs/(?P<oid>\w+)", Handler.put),
    (r"POST /lfs/verify", Handler.verify),
    (r"GET /cdn/(?P<oid>\w+)", Handler.cdn),
    (r"HEAD /cdn/(?P<oid>\w+)", Handler.cdn),
    (rf"(?:GET|HEAD) {_REPO}/resolve/(?P<revision>[^/]+|refs/pr/\d+)/(?P<path>.+)", Handler.resolve),
]
