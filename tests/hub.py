"""A stand-in for the Hub: an HTTP server on loopback that speaks its contract to the real client, with faults on demand.

Only what huggingface_hub asks for when it creates, pushes, tags, lists and pulls; git's history is a list of whole trees.
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

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
LARGE = (".safetensors", ".bin", ".png", ".jpg")


@dataclass
class Repo:
    """One repository: commits in order, each a whole tree, and names for some of them."""

    kind: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)

    @property
    def tree(self) -> dict[str, bytes]:
        return self.commits[self.refs["main"]]

    def commit(self, tree: dict[str, bytes], title: str, ref: str = "main") -> str:
        sha = hashlib.sha1(f"{self.kind}{len(self.commits)}{title}".encode()).hexdigest()
        self.commits[sha], self.refs[ref] = tree, sha
        self.titles.append(title)
        return sha

    def find(self, revision: str) -> str | None:
        """Branch, tag or commit -> commit."""
        return {**{sha: sha for sha in self.commits}, **self.tags, **self.refs}.get(revision)


@dataclass
class Answer:
    """What goes back; `body` may be cut short of the length that is announced."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class Fault:
    """Changes the answers to requests whose "METHOD /path" matches, so many times; or answers instead."""

    pattern: str
    change: Callable[[Answer], Answer]
    times: int
    instead: bool = False


class StandIn:
    """The server. `with StandIn() as hub:` runs it at `hub.url`."""

    def __init__(self, tokens: tuple[str, ...] = ("good",)):
        self.tokens, self.redirects = tokens, False
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}  # what git LFS holds, by SHA-256
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.sent: list[int] = []  # bytes of the body of each answer
        self.yaml_errors: list[str] = []
        handler = type("Bound", (Handler,), {"hub": self})
        self.open: list[socket.socket] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "StandIn":
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on connections are refused."""
        if self.server.socket.fileno() >= 0:
            self.server.shutdown()
            self.server.server_close()
        for connection in self.open:  # which the client keeps for later
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def add(self, name: str, files: dict[str, bytes], kind: str = "model", **settings) -> Repo:
        """A repository with files in it."""
        repo = self.repos[f"{kind}/{name}"] = Repo(kind, **settings)
        repo.commit(dict(files), "first")
        self.large |= {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        return repo

    def fail(self, pattern: str, status: int, *, code: str = "", message: str = "", times: int = 1, **headers: str) -> None:
        """Answers with an error."""
        told = {"X-Error-Code": code, "X-Error-Message": message} | {k.replace("_", "-"): v for k, v in headers.items()}
        self.faults.append(Fault(pattern, lambda _: Answer(status, b"", {k: v for k, v in told.items() if v}), times, True))

    def cut(self, pattern: str, keep: int, times: int = 1) -> None:
        """Breaks the connection off after `keep` bytes of the body."""
        self.faults.append(Fault(pattern, lambda a: Answer(a.status, a.body, a.headers, keep), times))

    def spoil(self, pattern: str, times: int = 1) -> None:
        """Other bytes of the same number."""
        self.faults.append(
            Fault(pattern, lambda a: Answer(a.status, a.body[:-9] + bytes(b ^ 255 for b in a.body[-9:]), a.headers), times)
        )

    def asked(self, pattern: str) -> list[str]:
        """The requests so far that match."""
        return [request for request in self.requests if re.search(pattern, request)]


class Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.hub.open.append(self.connection)

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.query, self.body = parse_qs(url.query), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, request = unquote(url.path), f"{self.command} {unquote(url.path)}"
        self.hub.requests.append(request)
        fault = next((one for one in self.hub.faults if one.times and re.search(one.pattern, request)), None)
        answer = Answer(0) if fault and fault.instead else self.route(path)
        if fault:
            fault.times -= 1
            answer = fault.change(answer)
        self.send(answer)

    do_HEAD = do_POST = do_PUT = do_GET

    def send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.hub.sent.append(len(answer.body[: answer.cut]))
            self.wfile.write(answer.body[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True

    def route(self, path: str) -> Answer:
        for pattern, method in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                return method(self, **match.groupdict())
        return Answer(404)

    def json(self) -> dict:
        return json.loads(self.body)

    # Who asks, and for what.

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def repo(self, kind: str, name: str) -> Repo | Answer:
        """The repository, or the refusal."""
        if self.token and self.token not in self.hub.tokens:
            return Answer(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
        repo = self.hub.repos.get(f"{KINDS.get((kind or 'models').rstrip('/'), kind)}/{name}")
        if repo is None or (repo.private and not self.token):
            return Answer(404 if self.token else 401, b"", {"X-Error-Code": "RepoNotFound"})
        return repo

    def at(self, kind: str, name: str, revision: str) -> tuple[Repo, str] | Answer:
        repo = self.repo(kind, name)
        if isinstance(repo, Answer):
            return repo
        sha = repo.find(revision)
        return (repo, sha) if sha else Answer(404, b"", {"X-Error-Code": "RevisionNotFound"})

    # The endpoints.

    def create(self) -> Answer:
        asked = self.json()
        if self.token not in self.hub.tokens:
            return Answer(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
        name, kind = f"{asked['organization']}/{asked['name']}", asked.get("type", "model")
        told = {"url": f"{self.hub.url}/{name}", "name": name}
        if f"{kind}/{name}" in self.hub.repos:
            return as_json(told | {"error": "You already created this repo"}, 409)
        repo = self.hub.repos[f"{kind}/{name}"] = Repo(kind, asked.get("visibility") == "private")
        repo.commit({".gitattributes": b""}, "initial commit")
        return as_json(told)

    def validate(self) -> Answer:
        front = re.match(r"---\n(.*?)\n---\n", self.json()["content"], re.S)
        try:
            values = yaml.safe_load(front[1]) if front else {}
            errors = [] if isinstance(values, dict) and values else [{"message": "no metadata"}]
        except yaml.YAMLError as error:
            errors = [{"message": str(error)}]
        self.hub.yaml_errors += [error["message"] for error in errors]
        return as_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def whoami(self) -> Answer:
        return as_json({"name": "ann", "orgs": []}) if self.token in self.hub.tokens else Answer(401)

    def info(self, kind: str, name: str, revision: str | None) -> Answer:
        found = self.at(kind, name, revision or "main")
        if isinstance(found, Answer):
            return found
        repo, sha = found
        told = {"id": name, "sha": sha, "private": repo.private, "gated": repo.gated, "tags": [], "downloads": 0}
        siblings = []
        for path, data in repo.commits[sha].items():
            one = {"rfilename": path, "size": len(data), "blobId": git_sha1(data)}
            if path.endswith(LARGE):
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(one)
        return as_json(told | {"siblings": siblings})

    def tree(self, kind: str, name: str, revision: str) -> Answer:
        found = self.at(kind, name, revision)
        if isinstance(found, Answer):
            return found
        repo, sha = found
        files = []
        for path, data in repo.commits[sha].items():
            one = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
            if path.endswith(LARGE):
                one["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            files.append(one)
        return as_json(files)

    def refs(self, kind: str, name: str) -> Answer:
        repo = self.repo(kind, name)
        if isinstance(repo, Answer):
            return repo
        branches, tags = (
            [{"name": one, "ref": f"refs/{where}/{one}", "targetCommit": sha} for one, sha in names.items()]
            for where, names in (("heads", repo.refs), ("tags", repo.tags))
        )
        return as_json({"branches": branches, "converts": [], "tags": tags})

    def tag(self, kind: str, name: str, revision: str) -> Answer:
        found = self.at(kind, name, revision)
        if isinstance(found, Answer):
            return found
        repo, sha = found
        if (tag := self.json()["tag"]) in repo.tags:
            return Answer(409)
        repo.tags[tag] = sha
        return as_json({})

    def preupload(self, kind: str, name: str, revision: str) -> Answer:
        found = self.at(kind, name, revision)
        if isinstance(found, Answer):
            return found
        repo, sha = found
        files = []
        for file in self.json()["files"]:
            path, large = file["path"], file["path"].endswith(LARGE)
            told = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if (data := repo.commits[sha].get(path)) is not None:
                told["oid"] = hashlib.sha256(data).hexdigest() if large else git_sha1(data)
            files.append(told)
        return as_json({"files": files})

    def batch(self, kind: str | None, name: str) -> Answer:
        objects = []
        for one in self.json()["objects"]:
            actions = {
                "upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"},
                "verify": {"href": f"{self.hub.url}/lfs/verify"},
            }
            objects.append(one if one["oid"] in self.hub.large else one | {"actions": actions})
        return as_json({"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> Answer:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return Answer(400)
        self.hub.large[oid] = self.body
        return Answer(200)

    def verify(self) -> Answer:
        asked = self.json()
        return as_json({}) if len(self.hub.large.get(asked["oid"], b"")) == asked["size"] else Answer(404)

    def commit(self, kind: str, name: str, revision: str) -> Answer:
        found = self.at(kind, name, revision)
        if isinstance(found, Answer):
            return found
        repo, sha = found
        lines = [json.loads(line) for line in self.body.decode().splitlines() if line]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, sha):
            return Answer(412)
        tree = dict(repo.commits[sha])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
        pull = "create_pr" in self.query
        ref = f"refs/pr/{next(n for n in itertools.count(1) if f'refs/pr/{n}' not in repo.refs)}" if pull else revision
        made = repo.commit(tree, header["summary"], ref)
        told = {"success": True, "commitOid": made, "commitUrl": f"{self.hub.url}/{name}/commit/{made}", "hookOutput": ""}
        return as_json(told | ({"pullRequestUrl": f"{self.hub.url}/{name}/discussions/1"} if pull else {}))

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> Answer:
        found = self.at(kind, name, revision)
        if isinstance(found, Answer):
            return found
        repo, sha = found
        if repo.gated and not self.token:
            return Answer(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to {name} is restricted."})
        if path not in repo.commits[sha]:
            return Answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
        data, told = repo.commits[sha][path], {"X-Repo-Commit": sha}
        etag = hashlib.sha256(data).hexdigest() if path.endswith(LARGE) else git_sha1(data)
        if self.hub.redirects and path.endswith(LARGE):
            elsewhere = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{etag}"
            told |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data)), "Location": elsewhere}
            return Answer(302, b"", told)
        return self.content(data, told | {"ETag": f'"{etag}"'})

    def cdn(self, oid: str) -> Answer:
        return self.content(self.hub.large[oid], {}) if not self.token else Answer(400)

    def content(self, data: bytes, headers: dict[str, str]) -> Answer:
        """All of it, or from where the client was cut off."""
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(asked[1])
            told = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return Answer(206, data[start:], headers | told)
        return Answer(200, data, headers)


def as_json(values, status: int = 200) -> Answer:
    return Answer(status, json.dumps(values).encode(), {"Content-Type": "application/json"})


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


_API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[\w.-]+/[\w.-]+)"
_REPO = r"/(?P<kind>datasets/|spaces/)?(?P<name>[\w.-]+/[\w.-]+)"
ROUTES = [
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (r"GET /api/whoami-v2", Handler.whoami),
    (rf"GET {_API}(/revision/(?P<revision>.+))?", Handler.info),
    (rf"GET {_API}/tree/(?P<revision>.+)", Handler.tree),
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
