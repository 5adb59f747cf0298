"""Uploads: parsed by gradio, with limits of files and fields, into folders of random names."""

import contextvars
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from gradio import processing_utils, route_utils
from starlette.datastructures import FormData

from .refusals import Refused
from .request_bodies import LimitedBody

MAX_FIELDS, MAX_FIELD_BYTES = 10, 1000
"""Fields of an upload that are no files: how many, and bytes of each. The page sends none."""
NO_SUCH_FIELD = "This upload has fields that this app does not know. Send files alone."


@dataclass
class Upload:
    """An upload that is being parsed.

    Args:
        body: what is received.
        count_file: called for each file, with its number from 1; may raise `Refused`.
    """

    body: LimitedBody
    count_file: Callable[[int], None]


CURRENT: contextvars.ContextVar[Upload] = contextvars.ContextVar("CURRENT")
"""The upload of the request that is being handled."""


class UploadParser(route_utils.GradioMultiPartParser):
    """gradio's parser, with limits, and with a random part in the hash that names a file's folder.

    Without it the same photo would have the same address whoever uploads it, and who has a photo could ask for it.
    """

    async def parse(self) -> FormData:
        """Parses the upload; what refuses it is kept, as gradio's answer would not be it."""
        try:
            return await super().parse()
        except Refused as error:
            CURRENT.get().body.refused = error
            raise

    def on_headers_finished(self) -> None:
        """Begins a part of the upload."""
        super().on_headers_finished()
        if self._current_part.file is None:
            if self._current_fields > MAX_FIELDS:
                raise Refused(413, NO_SUCH_FIELD)
            return
        self._current_part.file.sha.update(secrets.token_bytes(32))
        CURRENT.get().count_file(self._current_files)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Takes data of a part."""
        if self._current_part.file is None:
            if len(self._current_part.data) + end - start > MAX_FIELD_BYTES:
                raise Refused(413, NO_SUCH_FIELD)
            self._current_part.data += data[start:end]  # gradio's own expects a file here
        else:
            super().on_part_data(data, start, end)


def use_upload_parser() -> None:
    """Makes gradio parse uploads with `UploadParser`, and keep the pictures that it writes itself under random names."""
    route_utils.GradioMultiPartParser = UploadParser
    processing_utils.hash_bytes = lambda data: secrets.token_hex(32)
