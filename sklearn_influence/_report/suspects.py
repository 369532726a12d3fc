"""Which of the rows that rank high as suspects are surprising at all."""

import numpy as np

UNLIKELY = np.log(2.0)  # log loss of a label that is given a probability of 1/2
FAR_OFF = 4.0  # squared errors: twice the median error


def surprising(report):
    """Places of the suspects in ``report.rows``, most suspect first, and in words what they all have.

    Parameters
    ----------
    report : AuditReport

    Returns
    -------
    places : ndarray
        At most ``report.k``. A list of fixed length would call rows mislabelled that the model agrees with, wherever it
        is longer than the errors are many. A class is surprising that is not predicted, or was unlikelier than not
        before the row was seen; a number, where the model that had not seen it is off by more than twice the median
        error. Without labels nothing is left out.
    rule : str or None
        None where nothing was left out.
    """
    rows, by = report.rows, report.suspects["by"]
    order = np.argsort(-rows[by], kind="stable")[: report.k]
    if by != "leave_one_out_loss" or ("label" not in rows and report.task == "classification"):
        return order, None
    if report.task == "classification":
        rule = "whose label the model predicts"
        odd = rows["label"] != rows["prediction"]
        if report.loss == "log":
            rule = "whose label the model predicts, also without having seen the row"
            odd = odd | (rows[by] > UNLIKELY)
    else:
        rule = "whose error is at most twice the median"
        odd = rows[by] > FAR_OFF * np.median(rows[by])
    places = order[odd[order]]
    return places, rule if len(places) < len(order) else None
