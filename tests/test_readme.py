"""The README keeps its word."""

import pkgutil
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from exprgan.cli import _parser as library_parser
from train.__main__ import _parser as train_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_first_two_commands_are_make_app_and_make_test():
    assert re.findall(r"^make \w+", blocks("sh")[0], re.M) == ["make app", "make test"]


def test_the_python_example_runs_as_it_stands(tmp_path, monkeypatch, data_dir):
    shutil.copy(data_dir / "portrait.jpg", tmp_path / "me.jpg")
    shutil.copy(data_dir / "portrait2.jpg", tmp_path / "friend.jpg")
    shutil.copytree(ROOT / "weights", tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(blocks("python")[0], scope)
    for name in ("me-happy.png", "like-my-friend.png"):
        assert Image.open(tmp_path / name).size == Image.open("me.jpg").size
    assert len(scope["people"]) == 8


@pytest.mark.parametrize("line", [line for block in blocks("sh")[1:] for line in block.splitlines() if "-m " in line])
def test_every_command_line_is_one_that_the_program_understands(line):
    package, *arguments = line.partition("#")[0].split("-m ", 1)[1].split()
    {"exprgan": library_parser, "train": train_parser}[package]().parse_args(arguments)


def test_the_pictures_and_files_it_names_are_there():
    for name in [*re.findall(r"!\[.*?\]\((.*?)\)", README), "weights/training.json", "weights/results.json", "CREDITS.md"]:
        assert (ROOT / name).is_file(), name


def test_every_name_of_the_papers_table_exists():
    names = re.findall(r"`((?:exprgan|train)\.[\w.]+)`", (ROOT / "docs" / "paper.md").read_text(encoding="utf-8"))
    assert len(names) > 20
    for name in names:
        pkgutil.resolve_name(name)


@pytest.mark.parametrize("line", re.findall(r"`(?:accelerate|torchrun|python)[^`]*-m (train \w+[^`]*)`", README))
def test_every_command_in_the_text_is_one_as_well(line):
    _, verb, *arguments = line.replace("...", "DATA").split()
    train_parser().parse_args([verb, *(arguments if arguments != ["--help"] else ["DATA"])])


@pytest.mark.parametrize(
    "flag", sorted(set(re.findall(r"`(--[\w-]+)", README[README.index("## Retraining") : README.index("## The app")])))
)
def test_every_flag_of_retraining_is_one(flag, capsys):
    with pytest.raises(SystemExit):
        train_parser().parse_args(["fit", "--help"])
    assert flag in capsys.readouterr().out
