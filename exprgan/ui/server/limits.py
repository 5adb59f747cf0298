"""What one request, one client and all clients together may take. docs/reliability.md has the same numbers in a table."""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Limits of the server. A request beyond one of them is answered with a status and a sentence, never by waiting.

    A client is an address, of IPv6 the first 64 bits (`hosts.HostPolicy.client`).
    """

    # One request.

    body_bytes: int = 256_000
    """Body of a request other than an upload, in bytes. The page's own requests have some kB."""
    json_depth: int = 32
    """Levels of lists and objects within each other in a JSON body."""
    json_values: int = 5000
    """Values in a JSON body, each of which takes far more memory than its text. The page sends some hundred at most."""
    upload_bytes: int = 43 * MB
    """Body of an upload, in bytes: one photo of 40 MB, which is gradio's limit of a file, and its headers."""
    upload_files: int = 10
    """Files in one upload."""
    idle_s: float = 20
    """Longest wait for the next bytes of a request: for its head as a whole, and for each part of its body, in s."""
    body_s: float = 60
    """Longest time for a body other than an upload, in s."""
    upload_s: float = 600
    """Longest time for an upload, in s: 40 MB at half a megabit a second."""
    stalled_s: float = 60
    """Longest time in which a client may take nothing of an answer that is sent to it, in s."""

    # One client.

    requests_per_minute: int = 1200
    """Requests, without those for the page's scripts and styles."""
    uploads_per_hour: int = 300
    """Uploaded files."""
    upload_bytes_per_hour: int = 600 * MB
    """Bytes of all uploads."""
    open_requests: int = 100
    """Requests at the same time. An open page has one or two."""
    waiting_calls: int = 8
    """Calls that wait in the queue or run."""
    running_calls: int = 1
    """Calls that run at the same time, so that one client never has all workers; its others wait."""
    sessions: int = 16
    """Sessions that are kept; the client's own least recent one is dropped for a new one."""

    # All clients.

    queue: int = 60
    """Calls that wait. On two cores the last of them waits about half a minute."""
    connections: int = 500
    """Connections at the same time."""
    folder_bytes: int = 4000 * MB
    """Size of all files of visitors."""
    free_bytes: int = 500 * MB
    """What must stay free on the disk of visitors' files."""
    unclaimed_s: float = 5
    """A call that waits is dropped if for so long, in s, nobody has been listening for its answer."""
