"""Show what reconstruction costs: loss, error, shrinkage and direction of the errors."""

from xml.etree.ElementTree import Element

from api.cli.output.health.charts import intervals, quantiles
from api.cli.output.health.figures import Report, Row, at, figures, kept, number, percent, records, shown

SPLICING, ERROR = "reconstruction.splicing", "reconstruction.error"
SHRINKAGE, RESCALED, DIRECTION = "reconstruction.shrinkage", "reconstruction.rescaled", "reconstruction.direction"
LOSSES = (("clean", "ce_clean"), ("reconstruction", "ce_spliced"), ("mean", "ce_mean"), ("zeros", "ce_zero"))
SPLICED = (
    Row(f"{SPLICING}.nats_lost", "nats lost", "Loss with the reconstruction less the clean loss."),
    Row(f"{SPLICING}.bits_lost", "bits lost", "The same in bits."),
    Row(f"{SPLICING}.score", "CE recovered", "Of the loss that zeros cost. The subject never meets zeros: they flatter."),
    Row(f"{SPLICING}.score_mean", "CE recovered, against the mean", "Of the loss that the mean activation costs."),
    Row(f"{SPLICING}.kl", "KL", "KL(clean || reconstruction) of the next token's distribution, in nats."),
    Row(f"{SPLICING}.kl_mean", "KL, mean", "The same with the mean activation."),
    Row(f"{SPLICING}.kl_zero", "KL, zeros", "The same with zeros."),
)
ERRORS = (
    Row(f"{ERROR}.fvu", "FVU", "Squared error over the squared distance from the mean."),
    Row(f"{ERROR}.relative_error", "relative error", "Squared error over the squared norm: small where a bias alone reconstructs a large mean."),
    Row(f"{ERROR}.cosine", "cosine", "Mean cosine of reconstruction and activation."),
    Row(f"{ERROR}.norm_ratio", "norm ratio", "Mean norm of the reconstruction over the activation's. Below 1 is no proof of shrinkage."),
    Row(f"{ERROR}.bos", "relative error at BOS", "Where the dictionary does not count it."),
)
LENGTHS = (
    Row(f"{SHRINKAGE}.gamma", "gamma", "E|x̂|² / E[x·x̂]: below 1 the reconstructions are too short for their direction."),
    Row(f"{SHRINKAGE}.gamma_centred", "gamma about the mean", "The same without the mean, which a decoder bias reconstructs."),
    Row(f"{SHRINKAGE}.square_share", "square share", "E|x̂|² / E|x|², which is gamma² times the next."),
    Row(f"{SHRINKAGE}.angle_share", "angle share", "What the angle between the two alone leaves of the squared norm."),
)
WON = (
    Row(f"{RESCALED}.fvu", "FVU", "Of the documents that test, as it is."),
    Row(f"{RESCALED}.fvu_rescaled", "FVU, rescaled", "Of the same documents, rescaled."),
    Row(f"{RESCALED}.error_won", "error won back", "Share of the squared error.", percent),
    Row(f"{RESCALED}.nats_lost", "nats lost", "Of the documents that test."),
    Row(f"{RESCALED}.nats_won", "nats won back", "No fault of which features fire. Negative figures are overfitting."),
    Row(f"{RESCALED}.share_won", "share of the nats won back", "Of the nats lost.", percent),
    Row(f"{RESCALED}.features", "features fitted", "Those that fire often enough."),
)
OTHERS = (
    ("random", "random error", "a random error of the same length"),
    ("norm", "norm alone", "the activation scaled to the reconstruction's norm"),
)


def loss_says(report: Report) -> str:
    """Return in one sentence what the reconstruction costs the subject."""
    lost, zero, clean = (shown(report, f"{SPLICING}.{key}") for key in ("nats_lost", "ce_zero", "ce_clean"))
    of_zeros = f"; zeros in its place cost {number(zero.value - clean.value)}" if zero.value is not None and clean.value is not None else ""
    return f"Nats a token that the reconstruction costs the subject: {lost.said(number)}{of_zeros}."


def loss_body(report: Report) -> list[Element]:
    """Return losses, KL, and the size of the error."""
    return kept(
        intervals(
            "loss",
            "Loss by what is in place of the activations",
            "Cross-entropy of the next token, with 95% intervals: the nearer to the clean loss, the better.",
            [(name, [("loss", shown(report, f"{SPLICING}.{key}"))]) for name, key in LOSSES],
            "nats a token",
            bars=True,
        ),
        intervals(
            "position",
            "Relative error by position",
            "Where in the row the dictionary reconstructs badly, with 95% intervals.",
            [(_place(one), [("relative error", shown(one, "relative_error"))]) for one in records(report, f"{ERROR}.by_position")],
            "relative error",
        ),
        figures("Loss of the subject", report, SPLICED),
        figures("Size of the error", report, ERRORS),
    )


def _place(found: Report) -> str:
    first, last = found.get("first"), found.get("last")
    return f"position {first}" if first == last else f"positions {first} to {last}"


def shrinkage_says(report: Report) -> str:
    """Return in one sentence how biased lengths are, and what rescaling wins back."""
    gamma, won = shown(report, f"{SHRINKAGE}.gamma"), shown(report, f"{RESCALED}.share_won")
    return f"Reconstruction bias gamma (1 is unbiased): {gamma.said(number)}; share of the nats lost that rescaling wins back: {won.said(percent)}."


def shrinkage_body(report: Report) -> list[Element]:
    """Return the bias of lengths, and the rescaled baseline."""
    scales = at(report, f"{RESCALED}.scales.quantiles")
    return kept(
        figures("Shrinkage", report, LENGTHS),
        figures("Rescaled baseline: a scale and a shift for each feature, tested on other documents", report, WON),
        quantiles("scales", "Fitted scales", "Above 1, a feature's activations are too small.", [("scale", scales, 0)], "scale"),
    )


def direction_says(report: Report) -> str:
    """Return in one sentence how the errors' KL compares with that of others."""
    ratios = [f"of {name}: {shown(report, f'{DIRECTION}.{key}.ratio').said(number)}" for key, _, name in OTHERS]
    return f"KL of the reconstruction over that {', '.join(ratios)}."


def direction_body(report: Report) -> list[Element]:
    """Return the KL of the errors, of random errors, and of the norm alone."""
    rows = [Row(f"{SPLICING}.kl", "KL, reconstruction", "Mean over tokens, in nats.")]
    for key, title, name in OTHERS:
        path = f"{DIRECTION}.{key}"
        rows += [
            Row(f"{path}.kl", f"KL, {title}", f"The same with {name}."),
            Row(f"{path}.ratio", f"ratio, {title}", "Above 1 the errors do more harm, as is expected of errors along what the subject reads."),
            Row(f"{path}.worse_share", f"tokens where worse, {title}", "Share of tokens at which the other error does more harm.", percent),
        ]
    own = ("reconstruction", at(report, f"{SPLICING}.kl_tokens.quantiles"), 0)
    others = [(title, at(report, f"{DIRECTION}.{key}.kl_tokens.quantiles"), 1) for key, title, _ in OTHERS]
    ratios = [(title, at(report, f"{DIRECTION}.{key}.log2_ratios.quantiles"), 0) for key, title, _ in OTHERS]
    return kept(
        quantiles("kl", "KL token by token", "KL to the clean distribution of the next token.", [own, *others], "nats, logarithmic", log=True),
        quantiles("ratios", "Ratio of KL token by token", "Above 0 the reconstruction does more harm.", ratios, "log2 of the ratio"),
        figures("Harm of the errors beside that of others", report, rows),
    )
