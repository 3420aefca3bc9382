"""Warnings of a job about its files, where they are no reason to refuse it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from interp.domain.errors import printable

if TYPE_CHECKING:
    from interp.domain.evidence import Split

# Share of a split above which its largest document dominates the split's figures.
DOMINANT = 0.5


@dataclass(frozen=True, slots=True)
class JobWarning:
    """One warning, with a sentence as `detail`; a job has at most one per code."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Largest:
    """The name of a split's largest document, and its share of tokens or bytes."""

    name: str
    share: float


def merged(known: Iterable[Mapping[str, str]], new: Sequence[JobWarning]) -> list[dict[str, str]]:
    """Return the stored warnings with the new ones, which replace those of their code."""
    by_code = {str(warning["code"]): dict(warning) for warning in known}
    by_code |= {warning.code: printable(asdict(warning)) for warning in new}
    return list(by_code.values())


def of_corpus(left_out: Mapping[str, int], skipped: int, broken: int, largest: "Mapping[Split, Largest]") -> list[JobWarning]:
    """Return warnings of left-out entries, skipped texts, broken lines and dominant documents."""
    found = []
    if left_out:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(left_out.items()))
        found.append(JobWarning("corpus-entries-left-out", f"Entries of the corpus' folder that are no regular files were left out: {kinds}."))
    if skipped:
        found.append(JobWarning("corpus-texts-skipped", f"{skipped} texts of the corpus that are no UTF-8 were skipped, as asked for."))
    if broken:
        found.append(JobWarning("corpus-lines-broken", f"{broken} lines of the corpus that are unreadable or without text were left out."))
    for split, document in largest.items():
        if document.share > DOMINANT:
            detail = f"{document.name} holds {document.share:.0%} of the {split.name.lower()} split: figures of that split rest on one document."
            found.append(JobWarning(f"corpus-one-document-{split.name.lower()}", detail))
    return found


def of_dictionary(warnings: Sequence[str]) -> list[JobWarning]:
    return [JobWarning("dictionary-reading", " ".join(warnings))] if warnings else []


def of_backend(config: Mapping[str, Any]) -> list[JobWarning]:
    """Return a warning of a backend other than the job's, with the reason."""
    reason = config.get("backend_reason")
    return [JobWarning("backend-fallback", f"The subject is read by the backend `huggingface`. {reason}")] if reason else []


def of_row_length(row_tokens: int, trained: int | None) -> list[JobWarning]:
    """Return a warning of rows longer than the dictionary's training rows, where those are known."""
    if trained is None or row_tokens <= trained:
        return []
    detail = f"Rows have {row_tokens} tokens, the dictionary was trained on {trained}: what it does beyond was never trained."
    return [JobWarning("rows-longer-than-trained", detail)]
