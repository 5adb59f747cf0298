"""What each client has used: requests a minute, uploads an hour, requests and calls at the same time."""

import time
from collections import Counter, OrderedDict

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from .limits import Limits
from .refusals import Refused

TOO_MANY_REQUESTS = "There were too many requests from your address."
TOO_MANY_OPEN = "Too many requests from your address are open at the same time."
TOO_MANY_UPLOADS = "Too many photos were uploaded from your address within an hour."
TOO_MANY_FILES = "Only {count} photos can be uploaded at once."
BUSY_CLIENT_S = 5
"""When to try again where other requests of the same client have to end first, in s."""


class Clients:
    """The use of the app by each client; all methods take a client as `HostPolicy.client` names it, and raise `Refused`."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._requests = RateLimitItemPerMinute(limits.requests_per_minute, namespace="requests")
        self._files = RateLimitItemPerHour(limits.uploads_per_hour, namespace="files")
        self._bytes = RateLimitItemPerHour(limits.upload_bytes_per_hour, namespace="bytes")
        self._windows = FixedWindowRateLimiter(MemoryStorage())
        self._open: Counter[str] = Counter()
        self._sessions: dict[str, OrderedDict[str, None]] = {}

    def count_request(self, client: str) -> None:
        """Counts a request; 429 beyond `requests_per_minute`."""
        self._spend(self._requests, client, 1, TOO_MANY_REQUESTS)

    def check_upload(self, client: str, size: int) -> None:
        """Refuses an upload of so many bytes, without counting it, if the client has used its hour; 429."""
        self._check(self._bytes, client, size, TOO_MANY_UPLOADS)
        self._check(self._files, client, 1, TOO_MANY_UPLOADS)

    def count_bytes(self, client: str, size: int) -> None:
        """Counts bytes of an upload as they come; 429 beyond `upload_bytes_per_hour`."""
        self._spend(self._bytes, client, size, TOO_MANY_UPLOADS)

    def count_file(self, client: str, number: int) -> None:
        """Counts a file, the `number`-th of its upload from 1; 413 beyond `upload_files`, 429 beyond `uploads_per_hour`."""
        if number > self.limits.upload_files:
            raise Refused(413, TOO_MANY_FILES.format(count=self.limits.upload_files))
        self._spend(self._files, client, 1, TOO_MANY_UPLOADS)

    def open(self, client: str) -> None:
        """Counts a request until `close`; 429 beyond `open_requests`."""
        if self._open[client] >= self.limits.open_requests:
            raise Refused(429, TOO_MANY_OPEN, BUSY_CLIENT_S)
        self._open[client] += 1

    def close(self, client: str) -> None:
        """Ends what `open` began."""
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]

    def use_session(self, client: str, session: str) -> list[str]:
        """Notes that a client uses a session; returns its least recent ones beyond `sessions`, which are to be dropped."""
        used = self._sessions.setdefault(client, OrderedDict())
        used[session] = None
        used.move_to_end(session)
        return [used.popitem(last=False)[0] for _ in range(len(used) - self.limits.sessions)]

    def forget_sessions(self, kept: set[str]) -> None:
        """Forgets the sessions that the app has no longer."""
        for client, used in list(self._sessions.items()):
            for session in used.keys() - kept:
                del used[session]
            if not used:
                del self._sessions[client]

    def _spend(self, item: RateLimitItem, client: str, cost: int, message: str) -> None:
        self._check(item, client, cost, message)
        self._windows.hit(item, client, cost=cost)

    def _check(self, item: RateLimitItem, client: str, cost: int, message: str) -> None:
        if not self._windows.test(item, client, cost=cost):
            raise Refused(429, message, self._windows.get_window_stats(item, client).reset_time - time.time())
