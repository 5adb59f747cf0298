"""A Ray cluster of two machines, one of which is killed: every item has one result, and folders are those of processes."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from exprgan.batch.folder import edit_folder
from exprgan.cli import main
from exprgan.errors import ExprGANError
from exprgan.ray_pool import map_on_cluster
from train.data.prepare import PrepareConfig, prepare

try:
    import ray
    from ray.cluster_utils import Cluster
except ImportError:
    ray = None

needs_ray = pytest.mark.skipif(ray is None, reason="needs Ray: pip install ray")
FATAL = 3


@pytest.fixture(scope="module")
def cluster():
    memory, root = {"object_store_memory": 80 << 20}, Path(__file__).parent
    paths = [str(root.parent), str(root), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **memory})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    os.environ["PYTHONPATH"] = paths[-1]


def work(item: tuple[int, str]) -> tuple[int, str]:
    """Names the machine; kills its process at one item."""
    number, log = item
    with open(log, "a") as file:
        file.write(f"{number}\n")
    if number == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)
    return number, ray.get_runtime_context().get_node_id()


def died(item, how):
    return item[0], f"died: {how}"


@needs_ray
def test_every_item_has_one_result_although_a_machine_is_killed_half_way(cluster, tmp_path):
    second, log, results = cluster.add_node(num_cpus=1, object_store_memory=80 << 20), tmp_path / "begun", []
    cluster.wait_for_nodes()
    kept = []
    for result in map_on_cluster(work, [(number, str(log)) for number in range(16)], died, kept.append):
        results.append(result)
        if len({machine for _, machine in results if not machine.startswith("died")}) == 2 and second:
            cluster.remove_node(second, allow_graceful=False)
            second = None
    assert second is None and results == kept
    assert sorted(number for number, _ in results) == list(range(16))
    assert dict(results)[FATAL].startswith("died: ")
    begun = log.read_text().split()
    assert begun.count(str(FATAL)) == 2 and len(begun) <= 16 + 1 + 1  # what the killed machine worked on is begun again


@needs_ray
def test_a_folder_is_edited_and_prepared_on_a_cluster_as_by_processes(cluster, tiny_model, tmp_path):
    face = Image.open(Path(__file__).parent / "data" / "portrait.jpg").convert("RGB").resize((200, 200))
    photos = tmp_path / "photos" / "happy"
    photos.mkdir(parents=True)
    for name in ("a.png", "b.jpg"):
        face.save(photos / name)
    (photos / "cut.jpg").write_bytes((photos / "b.jpg").read_bytes()[:900])
    report = edit_folder(tiny_model, photos, tmp_path / "cluster", "happy", engine="ray")
    assert report.counts == {"edited": 2, "unreadable": 1} and report.new == 3
    edit_folder(tiny_model, photos, tmp_path / "here", "happy", workers=1)
    for name in ("a.png", "b.jpg"):
        assert (tmp_path / "cluster" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert edit_folder(tiny_model, photos, tmp_path / "cluster", "happy", engine="ray").new == 0
    for out, engine in (("far", "ray"), ("near", "processes")):
        prepare("folder", str(photos.parent), str(tmp_path / out), PrepareConfig(engine=engine))
    for name in ("metadata.csv", "report.json", "images/happy/a.png.png"):
        assert (tmp_path / "far" / name).read_bytes() == (tmp_path / "near" / name).read_bytes()


@needs_ray
def test_a_machine_without_the_code_is_named(cluster, monkeypatch):
    module = type(sys)("only_here")
    exec("def work(item): return item", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(ExprGANError, match=r"cannot work on photos: .*No module named 'only_here'. Install the same"):
        list(map_on_cluster(module.work, [1], died))


@needs_ray
def test_what_the_function_raises_is_raised_here_and_a_stop_keeps_what_is_in_work(cluster):
    with pytest.raises(ZeroDivisionError):
        list(map_on_cluster(lambda item: 1 // item, [1, 0], died))
    kept = []
    results = map_on_cluster(lambda item: time.sleep(0.2) or item, range(99), died, kept.append)
    first = next(results)
    results.close()
    assert first in kept and len(kept) < 9


def test_without_ray_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExprGANError, match=r"Ray is not installed. Install it: pip install ray"):
        next(map_on_cluster(str, [1], died))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert main(["edit", str(tmp_path / "a.png"), "happy", "--engine", "ray"]) == 1
    assert "--engine is for folders" in capsys.readouterr().err
