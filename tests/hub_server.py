"""A server on the loopback that speaks as much of the Hub's HTTP interface as pushing and pulling models needs.

Repositories with commits, branches and tags, large files beside small ones (git-lfs), tokens, private repositories.
Nothing is kept on disk. The xet protocol is not spoken: clients must be told so with ``HF_HUB_DISABLE_XET=1``.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

USER = "tester"
TOKEN = "hf_loopback"
LARGE = (".safetensors", ".bin", ".model", ".pt")
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


class RefusedError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass
class Repository:
    """Files of every commit, and what the names of revisions stand for."""

    private: bool
    commits: dict[str, dict[str, str]] = field(default_factory=dict)  # commit -> {path: digest of its content}
    revisions: dict[str, str] = field(default_factory=dict)  # branch or tag -> commit

    def commit_of(self, revision: str) -> str:
        """The commit that a branch, a tag or a commit's own name stands for."""
        revision = unquote(revision)
        if revision in self.commits:
            return revision
        if revision not in self.revisions:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.revisions[revision]

    def add(self, branch: str, files: dict[str, str]) -> str:
        """A new commit at the head of a branch."""
        name = hashlib.sha1(json.dumps([len(self.commits), branch, files]).encode()).hexdigest()
        self.commits[name] = files
        self.revisions[unquote(branch)] = name
        return name


class Hub(ThreadingHTTPServer):
    """The server and what it holds; ``requests`` lists what it was asked, ``broken`` fails paths that match."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.contents: dict[str, bytes] = {}  # SHA-256 -> bytes
        self.requests: list[str] = []
        self.broken: str | None = None
        self.cut_downloads = False

    def keep(self, content: bytes) -> str:
        """Stores bytes; returns their digest."""
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return digest

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a repository."""
        found = self.repositories[repo]
        return {path: self.contents[digest] for path, digest in found.commits[found.commit_of(revision)].items()}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that serves until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Hub
    ROUTES = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", rf"/api/models/{REPO}/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", rf"/api/models/{REPO}/commit/(?P<revision>[^/]+)", "commit"),
        ("POST", rf"/api/models/{REPO}/branch/(?P<name>[^/]+)", "branch"),
        ("POST", rf"/api/models/{REPO}/tag/(?P<revision>[^/]+)", "tag"),
        ("GET", rf"/api/models/{REPO}/refs", "refs"),
        ("GET", rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)(/.*)?", "tree"),
        ("GET", rf"/api/models/{REPO}(/revision/(?P<revision>[^/]+))?", "info"),
        ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/lfs/(?P<digest>\w+)", "upload"),
        ("GET", r"/lfs/(?P<digest>\w+)", "download"),
        ("GET", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
        ("HEAD", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    )

    def log_message(self, *args: Any) -> None:
        """Nothing on the screen."""

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def answer(self) -> None:
        path = urlsplit(self.path).path
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(f"{self.command} {path}")
        try:
            if self.server.broken and re.search(self.server.broken, path):
                raise RefusedError(500, "broken on purpose")
            for method, pattern, name in self.ROUTES:
                match = re.fullmatch(pattern, path)
                if match and method == self.command:
                    found = match.groupdict()
                    if "repo" in found:
                        found["repo"] = self.repository(found["repo"])
                    getattr(self, name)(**found)
                    return
            raise RefusedError(404, f"no such page: {path}")
        except RefusedError as refusal:
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self.send_json({"error": refusal.message}, refusal.status, headers)

    def send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def need_token(self) -> None:
        if not self.has_token():
            raise RefusedError(401, "Invalid username or password.")

    def repository(self, name: str) -> Repository:
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self.has_token()):
            raise RefusedError(404 if self.has_token() else 401, "Repository not found", "RepoNotFound")
        if self.command == "POST" and not self.path.endswith("/objects/batch"):
            self.need_token()
        self.name = name
        return found

    def whoami(self) -> None:
        self.need_token()
        access = {"displayName": "test", "role": "write"}
        self.send_json({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": access}})

    def validate(self) -> None:
        self.send_json({"errors": [], "warnings": []})

    def create(self) -> None:
        self.need_token()
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        url = f"{self.server.url}/{name}"
        if name in self.server.repositories:
            self.send_json({"error": "You already created this model repo", "url": url}, 409)
            return
        private = asked.get("private") or asked.get("visibility") == "private"
        repository = self.server.repositories[name] = Repository(bool(private))
        repository.add("main", {".gitattributes": self.server.keep(b"*.safetensors filter=lfs\n")})
        self.send_json({"url": url, "name": name, "id": name})

    def preupload(self, repo: Repository, revision: str) -> None:
        repo.commit_of(revision)
        files = [
            {
                "path": entry["path"],
                "uploadMode": "lfs" if entry["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for entry in json.loads(self.body)["files"]
        ]
        self.send_json({"files": files})

    def batch(self, repo: Repository) -> None:
        self.need_token()
        objects = []
        for entry in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/lfs/{entry['oid']}"}}
            objects.append({**entry, **({} if entry["oid"] in self.server.contents else {"actions": upload})})
        self.send_json({"transfer": "basic", "objects": objects})

    def upload(self, digest: str) -> None:
        if self.server.keep(self.body) != digest:
            raise RefusedError(400, "the content has another digest")
        self.send(b"")

    def commit(self, repo: Repository, revision: str) -> None:
        files = dict(repo.commits[repo.commit_of(revision)])
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = self.server.keep(base64.b64decode(value["content"]))
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.server.contents:
                    raise RefusedError(400, f"{value['path']} was not uploaded")
                files[value["path"]] = value["oid"]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        name = repo.add(revision, files)
        self.send_json(
            {"success": True, "commitOid": name, "commitUrl": f"{self.server.url}/{self.name}/commit/{name}"}
        )

    def branch(self, repo: Repository, name: str) -> None:
        name, asked = unquote(name), json.loads(self.body or b"{}")
        if name in repo.revisions:
            raise RefusedError(409, f"Reference already exists: {name}")
        repo.revisions[name] = repo.commit_of(asked.get("startingPoint") or "main")
        self.send_json({})

    def tag(self, repo: Repository, revision: str) -> None:
        repo.revisions[json.loads(self.body)["tag"]] = repo.commit_of(revision)
        self.send_json({})

    def refs(self, repo: Repository) -> None:
        branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.revisions.items()]
        self.send_json({"branches": branches, "tags": [], "converts": [], "pullRequests": []})

    def info(self, repo: Repository, revision: str | None) -> None:
        commit = repo.commit_of(revision or "main")
        siblings = [{"rfilename": path} for path in repo.commits[commit]]
        self.send_json(
            {"id": self.name, "modelId": self.name, "sha": commit, "private": repo.private, "siblings": siblings}
            | {"tags": [], "downloads": 0, "likes": 0, "pipeline_tag": "text2text-generation"}
        )

    def tree(self, repo: Repository, revision: str) -> None:
        files = repo.commits[repo.commit_of(revision)]
        self.send_json(
            [
                {"type": "file", "path": path, "size": len(self.server.contents[digest]), "oid": digest[:40]}
                for path, digest in files.items()
            ]
        )

    def resolve(self, repo: Repository, revision: str, path: str) -> None:
        commit = repo.commit_of(revision)
        digest = repo.commits[commit].get(unquote(path))
        if digest is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        content, headers = self.server.contents[digest], {"X-Repo-Commit": commit, "ETag": f'"{digest[:40]}"'}
        if not path.endswith(LARGE):
            self.send(content, 200, headers)
            return
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        if self.command == "GET":
            self.send(b"", 302, {**headers, "Location": f"{self.server.url}/lfs/{digest}"})
        else:
            self.send(content, 200, headers)

    def download(self, digest: str) -> None:
        content = self.server.contents[digest]
        start = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range") or "")
        rest = content[int(start[1]) :] if start else content
        if self.server.cut_downloads:
            self.send_response(200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: len(rest) // 2])
            self.close_connection = True
            return
        self.send(rest, 206 if start else 200)
