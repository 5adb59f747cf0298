"""`python -m train COMMAND`. Trains, evaluates and publishes ExprGAN models."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from exprgan.cli import run_verb
from exprgan.models.hub_source import BUNDLED_WEIGHTS

from .core.config_flags import SIX_EXPRESSIONS, add_flags, parse_expressions, read_config, typed_options
from .core.processes import started_processes
from .core.train_errors import RunError
from .data.photo_sources import SOURCES
from .data.picture_pack import pack_folder
from .data.prepare import PrepareConfig, prepare
from .data.validation import check
from .eval.calibration import calibrate
from .eval.decoder_calibration import calibrate_decoder
from .eval.dial_sheets import draw_dials
from .eval.evaluate import evaluate
from .eval.reading_calibration import calibrate_reading
from .eval.reference_training import ReferenceConfig, train_reference
from .gan.dry_run import print_plan
from .gan.fine_tuning import check_given_settings
from .gan.gan_trainer import fit
from .gan.train_config import TrainConfig
from .paper.figures import FIGURES, draw_figures
from .paper.reproduce import ReproduceConfig, reproduce
from .paper.synthetic_set import SyntheticConfig, make_set
from .paper.table1 import Table1Config, table1
from .perceptual.face_trainer import FaceTrainConfig, train_face_network
from .publish.credits import write_credits
from .publish.hub_upload import HubConfig, data_folder
from .publish.publish_dataset import publish_data
from .publish.publish_onnx import publish_onnx
from .publish.publish_weights import publish
from .publish.space import SpaceConfig, deploy_space
from .render.face_model.ict_facekit import prepare_mesh
from .render.manifest_layouts import LAYOUTS, make_manifest
from .render.render_config import RenderConfig
from .render.requirements import require_packages
from .render.virtual_people import VirtualConfig, make_virtual
from .warp.warp_trainer import WarpTrainConfig, train_warp
from .warp.wrinkle_trainer import WrinkleTrainConfig, train_wrinkles

DISTRIBUTED = ("facenet", "fit", "detail", "wrinkles", "judge", "augment", "table1", "reproduce")
"""Commands whose processes, several started together, share the work."""
MESH = "mesh"
"""The source of `prepare` that makes a mesh file instead of a training folder."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description="Trains, evaluates and publishes ExprGAN models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="make a training folder from a data set or own photos (docs/data.md)")
    command.add_argument("source", metavar="SOURCE", choices=[*SOURCES, MESH], help=f"{', '.join(SOURCES)}; or {MESH}: "
                      "OUT is then the mesh file for `render`, made from ICT-FaceKit's .obj files")  # fmt: skip
    command.add_argument("photos", metavar="SRC", help="folder of the photos, laid out as the source distributes them")
    command.add_argument("folder", metavar="OUT", help="folder to write; an interrupted run is resumed")
    add_flags(command, PrepareConfig)
    command.set_defaults(run=_prepare)

    command = commands.add_parser("check", help="validate a training folder and print a summary")
    command.add_argument("data", help="folder with metadata.csv")
    command.add_argument("--expressions", default=SIX_EXPRESSIONS, help="names of the K expressions, separated by commas")
    command.set_defaults(run=lambda args: check(args.data, parse_expressions(args.expressions)))

    command = commands.add_parser("pack", help="write the pictures of a large folder into files that training maps into "
                                  "memory (docs/scale.md)")  # fmt: skip
    command.add_argument("folder", metavar="DATA", help="folder with metadata.csv")
    command.add_argument("--image-size", type=int, default=128, help="side in px that training takes (default: 128)")
    command.set_defaults(run=lambda args: pack_folder(args.folder, args.image_size))

    command = commands.add_parser("facenet", help="train the face network of the identity loss, and the classifier")
    command.add_argument("data", help="folder with metadata.csv")
    add_flags(command, FaceTrainConfig)
    command.set_defaults(run=lambda args: train_face_network(args.data, read_config(args, FaceTrainConfig)))

    command = commands.add_parser("fit", help="train ExprGAN, in all three stages or some of them")
    command.add_argument("data", help="folder with metadata.csv")
    add_flags(command, TrainConfig)
    command.add_argument("--dry-run", action="store_true", help="print the resolved run as JSON and exit")
    command.set_defaults(run=_fit)

    command = commands.add_parser("publish", help="write a run's weights in the form of the app and the Hub; upload them")
    command.add_argument("run_folder", metavar="RUN", help="folder of a `fit` run, or one that `publish` wrote")
    command.add_argument("--out", default="runs/weights", help="folder to write (default: runs/weights)")
    command.add_argument("--data", default="", help="training folder; its hash and credits are recorded, and its name, if "
                         "it is on the Hub")  # fmt: skip
    command.add_argument(
        "--gallery", action="store_true", help="draw example photos, edited by these weights, for the card"
    )
    add_flags(command, HubConfig)
    _ask_before_replacing(command, lambda args: "" if getattr(args, "dry_run", False) else args.run_folder,
                          "replace other weights in the folder, or write into those that come with the code")  # fmt: skip
    command.set_defaults(
        run=lambda args: publish(
            args.run_folder,
            args.out,
            args.data,
            read_config(args, HubConfig),
            args.replace,
            data_repo=args.data_repo,
            gallery=args.gallery,
        )
    )

    command = commands.add_parser("publish-data", help="upload a training folder to the Hub, for use as DATA by its name")
    command.add_argument("data", help="folder with metadata.csv")
    add_flags(command, HubConfig)
    command.set_defaults(run=lambda args: publish_data(args.data, read_config(args, HubConfig)))

    command = commands.add_parser("publish-onnx", help="upload the networks for ONNX runtimes, in their own repository")
    command.add_argument("weights", help="a folder that `publish` wrote, or org/name on the Hub")
    command.add_argument("--base-model", default="", help="org/name of these weights on the Hub, if WEIGHTS is a folder")
    add_flags(command, HubConfig)
    command.set_defaults(run=lambda args: publish_onnx(args.weights, args.base_model, read_config(args, HubConfig)))

    command = commands.add_parser("deploy-space", help="upload the app to the Hub as a Space")
    command.add_argument("space", metavar="ORG/NAME", help="the Space, created if it does not exist")
    add_flags(command, SpaceConfig)
    command.set_defaults(run=lambda args: deploy_space(args.space, read_config(args, SpaceConfig)))

    command = commands.add_parser("detail", help="train T, the warp network, on rendered pairs, and write it into "
                                  "published weights")  # fmt: skip
    command.add_argument("pairs", metavar="PAIRS", help="a folder that `render --no-jitter --flow` wrote")
    command.add_argument("--weights", required=True, help="a folder that `publish` wrote; T is written into it")
    add_flags(command, WarpTrainConfig)
    _ask_before_replacing(command, lambda args: args.weights)
    command.set_defaults(run=_detail)

    command = commands.add_parser("wrinkles", help="train where T's wrinkles lie on a face, and write that into "
                                  "published weights")  # fmt: skip
    command.add_argument("pairs", metavar="PAIRS", help="a folder that `render --no-jitter --flow` wrote")
    command.add_argument("--weights", required=True, help="a folder that `publish` wrote, whose T takes action units")
    add_flags(command, WrinkleTrainConfig)
    _ask_before_replacing(command, lambda args: args.weights)
    command.set_defaults(run=_wrinkles)

    command = commands.add_parser("calibrate", help="make intensity linear, and full edits as intense as real expressions")
    command.add_argument("weights", help="a folder that `publish` wrote; model.safetensors and config.json are rewritten")
    command.add_argument("--data", required=True, help="folder with metadata.csv, with known intensities")
    command.add_argument("--people", type=int, default=24, help="number of people whose edits are measured")
    _ask_before_replacing(command, lambda args: args.weights)
    kinds = command.add_mutually_exclusive_group()
    kinds.add_argument("--reading", action="store_true", help="instead make the classifier's certainties true for the "
                       "people of split test (docs/evaluation.md)")  # fmt: skip
    kinds.add_argument("--decoder", action="store_true", help="instead make the decoder's full expressions as intense as "
                       "the set's, without tints (docs/experiments.md)")  # fmt: skip
    command.set_defaults(run=_calibrate)

    command = commands.add_parser("judge", help="train the independent network that evaluates edits, on real pictures only")
    command.add_argument("data", help="folder with metadata.csv")
    add_flags(command, ReferenceConfig)
    command.set_defaults(run=lambda args: train_reference(args.data, read_config(args, ReferenceConfig)))

    command = commands.add_parser("evaluate", help="measure published weights on held-out people")
    command.add_argument("weights", help="a folder that `publish` wrote")
    command.add_argument("--data", required=True, help="folder with metadata.csv")
    command.add_argument("--out", default="", help="folder for results.json (default: WEIGHTS, with the card)")
    command.add_argument("--sheets", default="", help="folder for four sheets of edited faces")
    command.add_argument("--judge", default="", help="output of `judge` (default: WEIGHTS/judge.safetensors)")
    command.add_argument("--fold", type=int, help="the fold of metadata.csv that was held out in training")
    command.add_argument("--outside", metavar="MODULE:OBJECT", action="append", default=[], help="an outside judge, "
                         "imported from the current folder or the installed packages; repeat it for several "
                         "(docs/evaluation.md)")  # fmt: skip
    _ask_before_replacing(command, lambda args: args.out or args.weights)
    command.set_defaults(
        run=lambda args: evaluate(args.weights, args.data, args.sheets, args.fold, args.judge, args.outside, out=args.out)
    )

    command = commands.add_parser("dials", help="draw held-out people with each dial at several values, and read them")
    command.add_argument("weights", help="a folder that `publish` wrote, whose T takes action units")
    command.add_argument("--data", required=True, help="folder with metadata.csv")
    command.add_argument("--out", default="runs/dials", help="folder to write (default: runs/dials)")
    command.add_argument("--people", type=int, default=6, help="number of held-out people; default 6")
    command.add_argument("--fold", type=int, help="the fold of metadata.csv that was held out in training")
    command.set_defaults(run=lambda args: print(draw_dials(args.weights, args.data, args.out, args.people, args.fold)))

    command = commands.add_parser("manifest", help="write the manifest of a folder of photos: people, licences and credits")
    command.add_argument("layout", metavar="LAYOUT", choices=LAYOUTS, help="webmorph, or own: to be completed by hand")
    command.add_argument("photos", metavar="PHOTOS", help="folder of the photos")
    command.add_argument("--out", default="", help="file to write, sources.csv beside it (default: PHOTOS/manifest.csv)")
    command.set_defaults(run=lambda args: make_manifest(args.layout, args.photos, args.out))

    command = commands.add_parser("render", help="render a training folder from neutral photos (docs/render.md)")
    add_flags(command, RenderConfig)
    command.set_defaults(run=_render)

    command = commands.add_parser("credits", help="list the sources of data sets with licence and consent, for CREDITS.md")
    command.add_argument("folders", metavar="FOLDER", nargs="+", help="with sources.csv: photos, or a training folder")
    command.add_argument("--out", default="", help="file to write to, between its two marker lines (default: print)")
    command.set_defaults(run=lambda args: write_credits(args.folders, args.out))

    command = commands.add_parser("virtual", help="create virtual people, each mixed from two people in photos")
    add_flags(command, VirtualConfig)
    command.set_defaults(run=lambda args: make_virtual(read_config(args, VirtualConfig)))

    command = commands.add_parser("augment", help="make a labelled synthetic set of any size")
    command.add_argument("weights", help="a folder that `publish` wrote")
    command.add_argument("--data", default="", help="training folder, needed for --kind edits")
    add_flags(command, SyntheticConfig)
    command.set_defaults(run=lambda args: make_set(args.weights, read_config(args, SyntheticConfig), args.data))

    command = commands.add_parser("table1", help="the paper's Table 1: classifiers trained with synthetic pictures")
    command.add_argument("weights", help="a folder that `publish` wrote; its G_enc sets the classifier's size")
    command.add_argument("--data", required=True, help="folder with metadata.csv, of real pictures")
    command.add_argument("--sets", required=True, help="a folder that `augment` wrote")
    add_flags(command, Table1Config)
    command.set_defaults(run=lambda args: table1(args.weights, args.data, args.sets, read_config(args, Table1Config)))

    command = commands.add_parser("figures", help="draw the paper's Figures 2 to 7")
    command.add_argument("numbers", metavar="N", type=int, nargs="*", help=f"{', '.join(map(str, FIGURES))} (default: all)")
    command.add_argument("--weights", required=True, help="a folder that `publish` wrote")
    command.add_argument("--data", required=True, help="folder with metadata.csv")
    command.add_argument("--out", default="runs/figures", help="folder to write (default: runs/figures)")
    command.add_argument("--caae", default="", help="published weights of a `fit --recipe caae` run, for Figure 2")
    command.set_defaults(run=lambda args: draw_figures(args.numbers, args.weights, args.data, args.out, args.caae))

    command = commands.add_parser("reproduce", help="reproduce the paper: prepare, facenet, fit, publish, evaluate, CAAE, "
                                  "Table 1, Figures 2 to 7, and a report")  # fmt: skip
    command.add_argument("source", choices=SOURCES, help="a source of `prepare`; folder: a folder that is prepared already")
    command.add_argument("photos", metavar="SRC", help="folder of the photos; for source folder, one with metadata.csv")
    command.add_argument("folder", metavar="OUT", help="folder to write; finished steps in it are skipped")
    add_flags(command, ReproduceConfig)
    command.set_defaults(run=_reproduce)

    for name, command in commands.choices.items():
        command.set_defaults(run=partial(_run_command, name, command.get_default("run")))
    return parser


def _ask_before_replacing(command: argparse.ArgumentParser, folder_of: Callable[[argparse.Namespace], str],
                          help: str = "write into the weights that come with the code, too") -> None:  # fmt: skip
    """Adds --replace, without which the command refuses to write into BUNDLED_WEIGHTS.

    Args:
        command: its parser.
        folder_of: takes the arguments and returns the folder of weights that is written; empty: none.
        help: of the flag.
    """
    command.add_argument("--replace", action="store_true", help=help)
    command.set_defaults(written=folder_of)


def _run_command(name: str, run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs a command. Its DATA may be the name of a data set on the Hub, which is then downloaded.

    Raises:
        RunError: several processes were started, of which all would do the same; or the weights that come with the code
            would be written.
    """
    if name not in DISTRIBUTED and started_processes() > 1:
        raise RunError(f"{started_processes()} processes were started, and all would do the same; start `{name}` without "
                       "accelerate launch or torchrun")  # fmt: skip
    folder = args.written(args) if hasattr(args, "written") and not args.replace else ""
    if folder and Path(folder).resolve() == BUNDLED_WEIGHTS.resolve():
        instead = "add --out FOLDER for the results alone" if name == "evaluate" else "name a copy of it"
        raise RunError(f"`{name}` would change {folder}, the weights that come with the code; {instead}, or add --replace")
    if hasattr(args, "data"):
        name, args.data = args.data, data_folder(args.data)
        args.data_repo = name if args.data != name else ""
    run(args)


def _prepare(args: argparse.Namespace) -> None:
    options = typed_options(args, PrepareConfig)
    if args.source == MESH:
        if options:
            raise ValueError(f"prepare {MESH} takes no options, but {' and '.join(options)} was given; leave it out")
        prepare_mesh(args.photos, args.folder)
    else:
        prepare(args.source, args.photos, args.folder, PrepareConfig(**options))


def _fit(args: argparse.Namespace) -> None:
    options = typed_options(args, TrainConfig)
    check_given_settings(options)
    config = TrainConfig.from_recipe(**options)
    print_plan(args.data, config) if args.dry_run else fit(args.data, config)


def _detail(args: argparse.Namespace) -> None:
    config = read_config(args, WarpTrainConfig)
    require_packages("cv2")  # of the extra, for `flow_composition`
    train_warp(args.pairs, args.weights, config)


def _calibrate(args: argparse.Namespace) -> None:
    if args.reading:
        calibrate_reading(args.weights, args.data)
    else:
        (calibrate_decoder if args.decoder else calibrate)(args.weights, args.data, args.people)


def _wrinkles(args: argparse.Namespace) -> None:
    config = read_config(args, WrinkleTrainConfig)
    require_packages("cv2", "scipy")  # of the extra, for the renderer's wrinkles
    train_wrinkles(args.pairs, args.weights, config)


def _render(args: argparse.Namespace) -> None:
    config = read_config(args, RenderConfig)
    require_packages()
    from .render.set_builder import build_set  # imports packages of the extra

    build_set(config)


def _reproduce(args: argparse.Namespace) -> None:
    photos = data_folder(args.photos) if args.source == "folder" else args.photos
    reproduce(args.source, photos, args.folder, read_config(args, ReproduceConfig))


def main(argv: list[str] | None = None) -> int:
    """Runs the command line of the training side and returns the exit status."""
    return run_verb(_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
