"""The general sections of the report, one a file with its template beside it; GENERAL is their order in the page."""

from tlkit.report.sections import (
    balance,
    blocks,
    calibration,
    confusion,
    curves,
    exports,
    heads,
    left_out,
    mistakes,
    per_class,
    per_value,
    proof,
    reproduce,
    residuals,
    seconds,
    transfer,
)

GENERAL = (
    heads.SECTION,
    exports.SECTION,
    transfer.SECTION,
    curves.SECTION,
    confusion.SECTION,
    mistakes.SECTION,
    per_class.SECTION,
    per_value.SECTION,
    residuals.SECTION,
    calibration.SECTION,
    balance.SECTION,
    left_out.SECTION,
    blocks.SECTION,
    proof.SECTION,
    seconds.SECTION,
    reproduce.SECTION,
)
