"""The command line with standard input, output and other pipes, and with names that a console cannot print."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exprgan.cli import main
from exprgan.photo.image_io import is_marked, load_photo

ROOT = Path(__file__).parent.parent


@pytest.fixture
def model(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def portrait(data_dir) -> Path:
    return data_dir / "portrait2.jpg"


def send(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_edit_between_standard_streams_keeps_the_format(model, portrait, monkeypatch, capsysbinary, file_format):
    file = io.BytesIO()
    Image.open(portrait).save(file, file_format)
    send(monkeypatch, file.getvalue())
    assert main(["edit", "-", "happy", "--out", "-", "--model", model]) == 0
    result = capsysbinary.readouterr().out
    assert Image.open(io.BytesIO(result)).format == file_format and is_marked(result)
    assert load_photo(result).size == Image.open(portrait).size


def test_a_photo_from_a_pipe_gives_the_edit_of_its_file(model, portrait, monkeypatch, tmp_path, capsys):
    edit = ["happy", "--model", model, "--out"]
    assert main(["edit", str(portrait), *edit, str(tmp_path / "file.png")]) == 0
    send(monkeypatch, portrait.read_bytes())
    assert main(["edit", "-", *edit, str(tmp_path / "stdin.png")]) == 0
    assert (tmp_path / "stdin.png").read_bytes() == (tmp_path / "file.png").read_bytes()
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "file.png"), str(tmp_path / "stdin.png")]


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no /dev/fd here")
def test_process_substitution_is_read(portrait, tmp_path):
    command = [sys.executable, "-m", "exprgan", "find", "/dev/fd/0", "--out", str(tmp_path / "faces.png")]
    done = subprocess.run(command, input=portrait.read_bytes(), stdout=subprocess.PIPE, cwd=ROOT, check=False)
    assert done.returncode == 0 and done.stdout.decode().startswith("1: ") and (tmp_path / "faces.png").exists()


def test_notes_do_not_mix_with_a_picture_on_standard_output(portrait, capsysbinary):
    assert main(["find", str(portrait), "--out", "-"]) == 0
    captured = capsysbinary.readouterr()
    assert Image.open(io.BytesIO(captured.out)).format == "JPEG" and captured.err.startswith(b"1: ")


def test_transfer_and_animate_take_and_write_streams(model, portrait, data_dir, monkeypatch, capsysbinary):
    send(monkeypatch, portrait.read_bytes())
    assert main(["transfer", str(data_dir / "portrait.jpg"), "-", "--out", "-", "--model", model]) == 0
    captured = capsysbinary.readouterr()
    assert is_marked(captured.out) and captured.err.startswith(b"- reads as ")
    short = ["--seconds", "0.2", "--fps", "10", "--size", "64", "--model", model]
    send(monkeypatch, portrait.read_bytes())
    assert main(["animate", "-", "--out", "-", *short]) == 0
    assert capsysbinary.readouterr().out[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edit", "-", "happy"], "- gives the result no name; add --out FILE, or --out - for standard output"),
        (["find", "/dev/stdin"], "/dev/stdin gives the result no name"),
        (["transfer", "-", "-", "--out", "x.jpg"], "only one of the two photos can come from standard input"),
        (["edit", "-", "happy", "--out", "x.jpg"], "The photo is empty"),
        (["edit", "{folder}", "happy", "--out", "-"], "need a folder too, not standard output"),
    ],
)
def test_streams_that_cannot_be_used_are_one_sentence(model, monkeypatch, capsys, tmp_path, arguments, message):
    send(monkeypatch, b"")
    assert main([*(a.format(folder=tmp_path) for a in arguments), *(["--model", model] * (arguments[0] != "find"))]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_terminal_gets_no_picture(portrait, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["find", str(portrait), "--out", "-"]) == 1
    assert "standard output is a terminal" in capsys.readouterr().err


def test_closed_standard_input_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["find", "-", "--out", str(tmp_path / "x.png")]) == 1
    assert "Standard input is closed" in capsys.readouterr().err


def test_a_reader_that_stops_early_ends_the_command_without_a_traceback(portrait):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "exprgan", "find", str(portrait), "--out", "-"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write_end)
    assert done.returncode == 1 and [line[:2] for line in done.stderr.decode().splitlines()] == ["1:"]


@pytest.mark.parametrize(
    ("name", "encoding"), [("笑.jpg", "cp1252"), ("Łucja.jpg", "ascii"), ("\udce9t\udce9.jpg", "utf-8")]
)
def test_a_name_that_the_console_cannot_print_is_escaped(portrait, monkeypatch, tmp_path, name, encoding):
    try:
        (tmp_path / name).write_bytes(portrait.read_bytes())
    except OSError:
        pytest.skip("no such names on this disk")
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["find", str(tmp_path / name)]) == 0
    stem = name.removesuffix(".jpg").encode("ascii", "backslashreplace").decode()
    assert output.buffer.getvalue().decode(encoding).splitlines()[-1] == str(tmp_path / f"{stem}-faces.jpg")
    assert np.asarray(Image.open(tmp_path / name.replace(".jpg", "-faces.jpg"))).any()
