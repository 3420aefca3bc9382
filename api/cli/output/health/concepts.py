"""Show how features separate classes of tokens."""

from xml.etree.ElementTree import Element

from api.cli.output.health.charts import intervals
from api.cli.output.health.figures import Report, Row, at, feature_list, figures, folded, kept, number, percent, reason, records, shown, table
from glossator.drawing.markup import element

SAMPLE = (
    Row("concepts.tokens", "tokens", "Of the sample."),
    Row("concepts.fit_documents", "documents that fit", "On these, features are chosen and probes fitted."),
    Row("concepts.test_documents", "documents that test", "AUROCs are of these."),
    Row("concepts.draws", "permutations", "Draws of the null."),
)
DIRECTIONS = (("embedding", "W_E"), ("residual", "activations"))
# Features of a probe are shown, as many as the largest has.
PROBED = 16


def says(report: Report) -> str:
    """Return in one sentence which class one feature separates best."""
    single = [(shown(probe, "auroc").value or 0.0, name, probe) for name, probe in _probes(report) if probe.get("probe") == "single"]
    if not single:
        whys = [one["why"] for one in records(report, "concepts.concepts") if isinstance(one.get("why"), str)]
        return f"No class of tokens has a probe: {next(iter(whys), reason(report, 'concepts.concepts'))}"
    _, name, probe = max(single, key=lambda one: one[0])
    auroc, null = shown(probe, "auroc").said(number), shown(probe, "null.mean").said(number)
    return f"One feature separates the class {name} best: AUROC {auroc} in other documents; with permuted labels {null}."


def body(report: Report) -> list[Element]:
    """Return the sample, AUROCs of features and probes, absorption, and aligned features."""
    probes = _probes(report)
    return kept(
        figures("Sample", report, SAMPLE),
        intervals(
            "auroc",
            "How well features and probes separate a class of tokens",
            "AUROC in other documents, with 95% intervals: single is the best feature, sparse-k the best k, linear a probe on the activations. "
            "Hollow: with permuted labels.",
            [
                (f"{name}, {probe.get('probe')}", [("AUROC", shown(probe, "auroc")), ("permuted labels", shown(probe, "null.mean"))])
                for name, probe in probes
            ],
            "AUROC",
        ),
        _classes(report),
        folded(f"Probes ({len(probes)})", _probe_table(probes)),
        intervals(
            "absorption",
            "Absorption",
            "Share of a class's tokens, of those that a linear probe knows, at which the class's own features are silent and another one carries the "
            "probe's direction, with 95% intervals. Hollow: by chance, with random directions.",
            [
                (str(one.get("name")), [("absorbed", shown(one, "absorption.rate")), ("random directions", shown(one, "absorption.random.mean"))])
                for one in records(report, "concepts.concepts")
                if shown(one, "absorption.rate").value is not None
            ],
            "share of the tokens",
        ),
        _absorption_table(report),
        _aligned(report),
    )


def _probes(report: Report) -> list[tuple[str, Report]]:
    return [(str(one.get("name")), probe) for one in records(report, "concepts.concepts") for probe in records(one, "probes")]


def _classes(report: Report) -> Element:
    rows = [
        (
            str(one.get("name")),
            number(shown(one, "types").value),
            number(shown(one, "tokens").value),
            percent(shown(one, "share").value),
            percent(shown(one, "null_overlap").value),
            str(one.get("why") or ""),
        )
        for one in records(report, "concepts.concepts")
    ]
    return table("Classes of tokens", ("class", "token types", "tokens", "share", "labels that permutation leaves", "why no probe"), rows)


def _probe_table(probes: list[tuple[str, Report]]) -> Element:
    rows = [
        (
            name,
            str(probe.get("probe")),
            shown(probe, "auroc").said(number),
            shown(probe, "null.mean").said(number),
            number(shown(probe, "null.greatest").value),
            feature_list(probe.get("features"), PROBED),
            shown(probe, "collinearity.condition").said(number),
            shown(probe, "collinearity.inflation").said(number),
            str(at(probe, "collinearity.warning") or ""),
        )
        for name, probe in probes
    ]
    header = ("class", "probe", "AUROC", "permuted labels", "greatest of them", "features", "condition", "variance inflation", "doubtful")
    return table("Probes", header, rows)


def _absorption_table(report: Report) -> Element:
    rows = [
        (
            str(one.get("name")),
            feature_list(at(one, "absorption.own"), PROBED),
            shown(one, "absorption.f1").text(number),
            number(shown(one, "absorption.tokens").value),
            number(shown(one, "absorption.documents").value),
            shown(one, "absorption.silent").said(percent),
            shown(one, "absorption.rate").said(percent),
            shown(one, "absorption.random.mean").said(percent),
            percent(shown(one, "absorption.random.greatest").value),
            shown(one, "absorption.permuted.mean").said(percent),
            percent(shown(one, "absorption.permuted.greatest").value),
            ", ".join(_absorber(absorber) for absorber in records(one, "absorption.absorbers")) or "–",
        )
        for one in records(report, "concepts.concepts")
    ]
    header = (
        "class",
        "its own features",
        "F1",
        "tokens that the probe knows",
        "documents",
        "own features silent",
        "absorbed",
        "random directions",
        "greatest of them",
        "permuted labels",
        "greatest of them",
        "absorbing features: tokens, cosine with the probe",
    )
    return folded(f"Absorption ({len(rows)})", table("Absorption by class of token", header, rows))


def _absorber(of: Report) -> str:
    return f"{of.get('feature')}: {number(shown(of, 'tokens').value)}, {number(shown(of, 'cosine').value)}"


def _aligned(report: Report) -> Element:
    found = [(str(one.get("name")), title, at(one, key)) for one in records(report, "concepts.concepts") for key, title in DIRECTIONS]
    rows = [
        (name, title, str(one.get("feature")), shown(one, "cosine").said(number), shown(of, "null.mean").said(number))
        for name, title, of in found
        for one in records(of, "aligned")
    ]
    reasons = [element("p", f"{name}, direction of {title}: {at(of, 'why')}", class_="why") for name, title, of in found if at(of, "why")]
    caption = "Features aligned with the direction of a class"
    header = ("class", "direction of", "feature", "cosine", "greatest with permuted labels")
    return folded(f"{caption} ({len(rows)})", table(caption, header, rows), *reasons)
