"""Training that continues from published weights (`fit --init`): what its data must have."""

from ..data.metadata import print_warnings, raise_problems
from ..data.validation import empty_split_problem, inspect_folder, warn_of_shortages


def check_before_fine_tuning(data: str, expressions: tuple[str, ...], fold: int | None = None) -> bool:
    """Checks a folder before training continues from published weights, which few people and classes may do, and prints
    what it lacks.

    Args:
        data: a folder with metadata.csv.
        expressions: the names of the model's K expressions.
        fold: the fold that is held out, instead of the people of split "test".

    Returns:
        Whether people are held out.

    Raises:
        DataError: the folder is invalid; the message lists the problems.
    """
    errors = inspect_folder(data, expressions, fold, training=False).errors
    no_test = empty_split_problem("test", fold)
    raise_problems(data, [error for error in errors if error != no_test])
    warn_of_shortages(data, expressions)
    if no_test in errors:
        print_warnings([f"{no_test}; those trained on are shown and measured instead of held-out people"])
    return no_test not in errors
