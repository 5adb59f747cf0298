"""The app's handlers as tools of MCP; skipped if gradio's extra `mcp` is not installed."""

import asyncio
import base64
import os

import pytest
import torch

from exprgan import ExpressionEditor, ExprGAN
from exprgan.ui.page import LAUNCH_OPTIONS, build_app

mcp = pytest.importorskip("mcp")
CALLS = {
    "edit": {"expression": "happy", "others": {}},
    "read": {},
    "all_expressions": {},
    "number_faces": {},
    "download_edit": {"expression": "sad", "intensity": 0.5},
    "animate": {"file_format": "gif", "seconds": 0.5},
    "transfer": {"source": None},
    "download_transfer": {"source": None},
    "generate": {"seed": 3, "count": 2},
    "download_people": {"count": 2, "expression": "all"},
    "download_sheet": {},
}
"""Tool -> its arguments besides the photo. A source is a photo too."""
NO_PHOTO = ("generate", "download_people")


@pytest.fixture(scope="module")
def mcp_url(tiny_config, tmp_path_factory):
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("visitors"))
    torch.manual_seed(0)
    app = build_app(ExpressionEditor(ExprGAN(tiny_config)))
    _, url, _ = app.launch(**LAUNCH_OPTIONS, mcp_server=True, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield f"{url}gradio_api/mcp/"
    app.close()
    os.environ.pop("GRADIO_TEMP_DIR") if before is None else os.environ.update(GRADIO_TEMP_DIR=before)


def test_every_handler_is_a_tool_that_works(mcp_url, data_dir):
    from mcp.client.streamable_http import streamablehttp_client

    photo = "data:image/jpeg;base64," + base64.b64encode((data_dir / "portrait.jpg").read_bytes()).decode()

    async def call_all() -> dict[str, str]:
        async with streamablehttp_client(mcp_url) as (read, write, _), mcp.ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            assert {tool.name for tool in tools} == CALLS.keys()
            for tool in tools:
                assert all(parameter.get("description") for parameter in tool.inputSchema["properties"].values()), tool.name
            answers = {}
            for name, settings in CALLS.items():
                photos = {} if name in NO_PHOTO else {"photo": photo} | ({"source": photo} if "source" in settings else {})
                answer = await session.call_tool(name, settings | photos)
                text = " ".join(part.text for part in answer.content if part.type == "text")
                assert not answer.isError, (name, text)
                answers[name] = text
            return answers

    answers = asyncio.run(call_all())
    assert "now reads as" in answers["edit"] and "The other face reads as" in answers["transfer"]
    assert all("file=" in text for name, text in answers.items() if name not in ("read", "number_faces"))
