"""python -m train VERB: everything the training side does, one verb each."""

import argparse
import sys
from collections.abc import Callable
from functools import partial

from exprgan.cli import run_verb

from .core.config_flags import SIX_EXPRESSIONS, add_flags, parse_expressions, read_config, typed_options
from .data.photo_sources import SOURCES
from .data.prepare import PrepareConfig, prepare
from .data.validation import check
from .eval.calibration import calibrate
from .eval.evaluate import evaluate
from .eval.reference_training import ReferenceConfig, train_reference
from .gan.dry_run import print_plan
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
from .publish.publish_weights import publish
from .publish.space import SpaceConfig, deploy_space
from .render.face_model.ict_facekit import prepare_mesh
from .render.manifest_layouts import LAYOUTS, make_manifest
from .render.render_config import RenderConfig
from .render.requirements import require_packages
from .render.virtual_people import VirtualConfig, make_virtual
from .warp.warp_trainer import WarpTrainConfig, train_warp

MESH = "mesh"
"""The source of `prepare` that makes a mesh file instead of a training folder."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("prepare", help="make a training folder of a data set or of your own photos (docs/data.md)")
    verb.add_argument("source", metavar="SOURCE", choices=[*SOURCES, MESH], help=f"{', '.join(SOURCES)}; or {MESH}: "
                      "OUT is then a file for `render`, made of ICT-FaceKit's .obj files")  # fmt: skip
    verb.add_argument("photos", metavar="SRC", help="folder of the photos, as the source unpacks")
    verb.add_argument("folder", metavar="OUT", help="folder to write; what a stopped run wrote there is kept")
    add_flags(verb, PrepareConfig)
    verb.set_defaults(run=_prepare)

    verb = verbs.add_parser("check", help="say all that is wrong with a training folder, or what is in it")
    verb.add_argument("data", help="folder with metadata.csv")
    verb.add_argument("--expressions", default=SIX_EXPRESSIONS, help="names of the K expressions, separated by commas")
    verb.set_defaults(run=lambda args: check(args.data, parse_expressions(args.expressions)))

    verb = verbs.add_parser("facenet", help="train the face network of the identity loss, and the classifier")
    verb.add_argument("data", help="folder with metadata.csv")
    add_flags(verb, FaceTrainConfig)
    verb.set_defaults(run=lambda args: train_face_network(args.data, read_config(args, FaceTrainConfig)))

    verb = verbs.add_parser("fit", help="train ExprGAN: the three stages, or some of them")
    verb.add_argument("data", help="folder with metadata.csv")
    add_flags(verb, TrainConfig)
    verb.add_argument("--dry-run", action="store_true", help="print what would be done, as JSON, and stop")
    verb.set_defaults(run=_fit)

    verb = verbs.add_parser("publish", help="turn a run into the folder that the Hub and the app read, and send it")
    verb.add_argument("run_folder", metavar="RUN", help="folder of a `fit` run, or one that `publish` wrote")
    verb.add_argument("--out", default="weights", help="folder to write (default: weights)")
    verb.add_argument("--data", default="", help="what it was trained on: its hash and credit lines are written down")
    add_flags(verb, HubConfig)
    verb.set_defaults(run=lambda args: publish(args.run_folder, args.out, args.data, read_config(args, HubConfig)))

    verb = verbs.add_parser("publish-data", help="send a training folder to the Hub; verbs take its org/name as DATA")
    verb.add_argument("data", help="folder with metadata.csv")
    add_flags(verb, HubConfig)
    verb.set_defaults(run=lambda args: publish_data(args.data, read_config(args, HubConfig)))

    verb = verbs.add_parser("deploy-space", help="send the app to the Hub as a Space")
    verb.add_argument("space", metavar="ORG/NAME", help="the Space, made if it is not there yet")
    add_flags(verb, SpaceConfig)
    verb.set_defaults(run=lambda args: deploy_space(args.space, read_config(args, SpaceConfig)))

    verb = verbs.add_parser("detail", help="train T, which carries edits over to a photo's own pixels, into weights")
    verb.add_argument("pairs", metavar="PAIRS", help="a folder that `render --no-jitter --flow` wrote")
    verb.add_argument("--weights", required=True, help="a folder that `publish` wrote; T is put into it")
    add_flags(verb, WarpTrainConfig)
    verb.set_defaults(run=lambda args: train_warp(args.pairs, args.weights, read_config(args, WarpTrainConfig)))

    verb = verbs.add_parser("calibrate", help="make published weights' slider even, and its full edits strong")
    verb.add_argument("weights", help="a folder that `publish` wrote; its config.json is rewritten")
    verb.add_argument("--data", required=True, help="folder with metadata.csv, with known intensities")
    verb.add_argument("--people", type=int, default=24, help="how many people are edited for it")
    verb.set_defaults(run=lambda args: calibrate(args.weights, args.data, args.people))

    verb = verbs.add_parser("judge", help="train the independent judge of `evaluate`, on a set's own pictures alone")
    verb.add_argument("data", help="folder with metadata.csv")
    add_flags(verb, ReferenceConfig)
    verb.set_defaults(run=lambda args: train_reference(args.data, read_config(args, ReferenceConfig)))

    verb = verbs.add_parser("evaluate", help="measure published weights on held-out people")
    verb.add_argument("weights", help="a folder that `publish` wrote")
    verb.add_argument("--data", required=True, help="folder with metadata.csv")
    verb.add_argument("--sheets", default="", help="folder for four sheets of edited faces")
    verb.add_argument("--judge", default="", help="the independent judge (default: WEIGHTS/judge.safetensors)")
    verb.add_argument("--fold", type=int, help="the fold of metadata.csv that was held out in training")
    verb.set_defaults(run=lambda args: evaluate(args.weights, args.data, args.sheets, args.fold, args.judge))

    verb = verbs.add_parser("manifest", help="write the manifest of a folder of photos: whose they are, on what terms")
    verb.add_argument("layout", metavar="LAYOUT", choices=LAYOUTS, help="webmorph, or own: to be filled in by hand")
    verb.add_argument("photos", metavar="PHOTOS", help="folder of the photos")
    verb.add_argument("--out", default="", help="file to write, sources.csv beside it (default: PHOTOS/manifest.csv)")
    verb.set_defaults(run=lambda args: make_manifest(args.layout, args.photos, args.out))

    verb = verbs.add_parser("render", help="a training folder of neutral photos, by action units (docs/render.md)")
    add_flags(verb, RenderConfig)
    verb.set_defaults(run=_render)

    verb = verbs.add_parser("credits", help="list whose pictures a set descends from, for CREDITS.md")
    verb.add_argument("folders", metavar="FOLDER", nargs="+", help="with sources.csv: of photos, or a training folder")
    verb.add_argument("--out", default="", help="file to write it in, between two marked lines (default: print it)")
    verb.set_defaults(run=lambda args: write_credits(args.folders, args.out))

    verb = verbs.add_parser("virtual", help="make new people, each mixed from two of a folder of photos with a manifest")
    add_flags(verb, VirtualConfig)
    verb.set_defaults(run=lambda args: make_virtual(read_config(args, VirtualConfig)))

    verb = verbs.add_parser("augment", help="make a labelled synthetic set of any size")
    verb.add_argument("weights", help="a folder that `publish` wrote")
    verb.add_argument("--data", default="", help="the training folder, needed for --kind edits")
    add_flags(verb, SyntheticConfig)
    verb.set_defaults(run=lambda args: make_set(args.weights, read_config(args, SyntheticConfig), args.data))

    verb = verbs.add_parser("table1", help="train classifiers with and without synthetic pictures: the paper's Table 1")
    verb.add_argument("weights", help="a folder that `publish` wrote; says how large the classifier is")
    verb.add_argument("--data", required=True, help="folder with metadata.csv, of real pictures")
    verb.add_argument("--sets", required=True, help="a folder that `augment` wrote")
    add_flags(verb, Table1Config)
    verb.set_defaults(run=lambda args: table1(args.weights, args.data, args.sets, read_config(args, Table1Config)))

    verb = verbs.add_parser("figures", help="draw the paper's Figures 2 to 7")
    verb.add_argument("numbers", metavar="N", type=int, nargs="*", help=f"of {', '.join(map(str, FIGURES))}; none: all")
    verb.add_argument("--weights", required=True, help="a folder that `publish` wrote")
    verb.add_argument("--data", required=True, help="folder with metadata.csv")
    verb.add_argument("--out", default="docs/figures", help="folder to write (default: docs/figures)")
    verb.add_argument("--caae", default="", help="published weights of a `fit --recipe caae` run, for Figure 2")
    verb.set_defaults(run=lambda args: draw_figures(args.numbers, args.weights, args.data, args.out, args.caae))

    verb = verbs.add_parser("reproduce", help="the whole paper: all of the above in order, and a report")
    verb.add_argument("source", choices=SOURCES, help="oulu, another source of `prepare`, or folder: prepared already")
    verb.add_argument("photos", metavar="SRC", help="folder of the photos; of source folder, one with metadata.csv")
    verb.add_argument("folder", metavar="OUT", help="folder to write; what is finished there is not done again")
    add_flags(verb, ReproduceConfig)
    verb.set_defaults(run=_reproduce)

    for verb in verbs.choices.values():
        verb.set_defaults(run=partial(_run_with_data, verb.get_default("run")))
    return parser


def _run_with_data(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs a verb whose DATA may be the name of a data set on the Hub, which is then downloaded."""
    if hasattr(args, "data"):
        args.data = data_folder(args.data)
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
    config = TrainConfig.from_recipe(**typed_options(args, TrainConfig))
    print_plan(args.data, config) if args.dry_run else fit(args.data, config)


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
