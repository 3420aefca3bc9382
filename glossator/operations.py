"""The operations of the API, each written once for the blocking and the asynchronous client."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import quote
from uuid import uuid4

import httpx

from glossator import models
from glossator.archive import blocks_of, packed, parts_of
from glossator.downloads import download
from glossator.errors import JobNotCompletedError
from glossator.listings import AsyncListing
from glossator.progress import follow_display
from glossator.session import IDEMPOTENCY_KEY, Answer, Event, Session, given

# Before answering, the server calls the endpoints of the job's models, with retries, and reads the job's files.
SUBMIT_TIMEOUT = httpx.Timeout(180, connect=3)
# An archive is unpacked, and perhaps sent on to a bucket, before the answer.
UPLOAD_TIMEOUT = httpx.Timeout(3600, connect=3)
# What a connection that breaks costs at most. A name has 255 characters.
PART_BYTES, PART_NAME = 64 << 20, 240
# A live request is answered at its deadline, whatever the answer is.
LIVE_MARGIN = 10
# Nothing more happens to such a job by itself.
STOPS = frozenset({"completed", "failed", "cancelled", "paused"})


class Operations:
    """The operations of one server.

    Every method raises ApiError for a problem document, and UnreachableError where no Glossator server answers.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.url = session.url

    async def close(self) -> None:
        """Close the connections."""
        await self._session.wire.close()

    async def submit_job(self, spec: Mapping[str, Any], idempotency_key: str | None = None) -> models.JobAnswer:
        """Submit a job; the same key with the same spec gives the same job."""
        return await self._session.answer(models.JobAnswer, "POST", "/v1/jobs", json=spec, headers=_key(idempotency_key), timeout=SUBMIT_TIMEOUT)

    async def estimate_job(self, spec: Mapping[str, Any]) -> models.EstimateAnswer:
        """Return what the job would ask of its language models; the server stores nothing."""
        return await self._session.answer(models.EstimateAnswer, "POST", "/v1/jobs/estimate", repeatable=True, json=spec, timeout=SUBMIT_TIMEOUT)

    def list_jobs(self, status: str | None = None, limit: int | None = None, owner: str | None = None) -> AsyncListing[models.JobAnswer]:
        """List jobs, newest first."""
        return AsyncListing(self._session.pages(models.JobAnswer, "/v1/jobs", limit, {"status": status, "owner": owner}))

    async def get_job(self, job_id: str) -> models.JobAnswer:
        """Return a job with its progress."""
        return await self._session.answer(models.JobAnswer, "GET", _path("/v1/jobs/{}", job_id))

    async def cancel_job(self, job_id: str) -> models.JobAnswer:
        """Cancel a job; stored results stay."""
        return await self._session.answer(models.JobAnswer, "POST", _path("/v1/jobs/{}/cancel", job_id), repeatable=True)

    async def pause_job(self, job_id: str) -> models.JobAnswer:
        """Pause a job until it is resumed."""
        return await self._session.answer(models.JobAnswer, "POST", _path("/v1/jobs/{}/pause", job_id), repeatable=True)

    async def resume_job(self, job_id: str, budget: Mapping[str, Any] | None = None) -> models.JobAnswer:
        """Resume a paused job; `budget` holds the caps that change."""
        body = {"budget": budget} if budget else None
        return await self._session.answer(models.JobAnswer, "POST", _path("/v1/jobs/{}/resume", job_id), json=body)

    async def retry_job(self, job_id: str) -> models.JobAnswer:
        """Retry what failed in a job."""
        return await self._session.answer(models.JobAnswer, "POST", _path("/v1/jobs/{}/retry", job_id))

    async def upload_file(
        self, path: Path | str, files: Sequence[str] | None = None, progress: Callable[[int], object] = lambda _sent: None
    ) -> models.FileAnswer:
        """Upload a file or folder, which jobs name by the answer's `uri`.

        `files` are relative paths, if not the whole folder is sent. `progress` gets the number of bytes that were sent. A large one goes in parts: an
        interrupted part is sent again, and a later call finds those that arrived. Equal content is stored once. Raises OSError for files that cannot
        be read.
        """
        path = Path(path)
        is_folder = path.is_dir()
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()) if files is None else files
        if sum((path / name).stat().st_size for name in names if is_folder) + (0 if is_folder else path.stat().st_size) > PART_BYTES:
            return await self._upload_in_parts(
                path.absolute().name, packed(path, names, progress) if is_folder else blocks_of(path, progress), is_folder
            )
        headers = {"Content-Type": "application/octet-stream"} | ({} if is_folder else {"Content-Length": str(path.stat().st_size)})
        return await self._session.answer(
            models.FileAnswer,
            "POST",
            "/v1/files",
            repeatable=True,
            content=lambda: packed(path, names, progress) if is_folder else blocks_of(path, progress),
            params={"name": path.absolute().name, "unpack": is_folder},
            headers=headers,
            timeout=UPLOAD_TIMEOUT,
        )

    async def join_files(self, name: str, parts: Sequence[str], digest: str, unpack: bool = False) -> models.FileAnswer:
        """Join uploaded files into one upload; `digest` is the sha256 of the whole."""
        body = {"name": name, "parts": list(parts), "digest": digest, "unpack": unpack}
        return await self._session.answer(models.FileAnswer, "POST", "/v1/files/joined", repeatable=True, json=body, timeout=UPLOAD_TIMEOUT)

    async def _upload_in_parts(self, name: str, blocks: Iterator[bytes], unpack: bool) -> models.FileAnswer:
        ids, whole = [], hashlib.sha256()
        for number, part in enumerate(parts_of(blocks, PART_BYTES)):
            whole.update(part)
            ids.append(await self._part(f"{name[:PART_NAME]}.part-{number}", part))
        return await self.join_files(name, ids, whole.hexdigest(), unpack)

    async def _part(self, name: str, content: bytes) -> str:
        """Return the id of a part, which is sent unless it is there."""
        async for known in self.list_files(digest=hashlib.sha256(content).hexdigest()):
            if known["name"] == name:
                return str(known["id"])
        made = await self._session.answer(
            models.FileAnswer,
            "POST",
            "/v1/files",
            repeatable=True,
            content=lambda: iter((content,)),
            params={"name": name, "part": True},
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(len(content))},
            timeout=UPLOAD_TIMEOUT,
        )
        return str(made["id"])

    def list_files(self, limit: int | None = None, **filters: Unpack[models.ListFilesFilters]) -> AsyncListing[models.FileAnswer]:
        """List your uploads, newest first."""
        return AsyncListing(self._session.pages(models.FileAnswer, "/v1/files", limit, filters))

    async def get_file(self, file_id: str) -> models.FileDetail:
        """Return an upload with the paths, sizes and digests of its files."""
        return await self._session.answer(models.FileDetail, "GET", _path("/v1/files/{}", file_id))

    async def delete_file(self, file_id: str) -> models.FileAnswer:
        """Delete an upload, unless an open job needs it."""
        return await self._session.answer(models.FileAnswer, "DELETE", _path("/v1/files/{}", file_id))

    def list_keys(self, limit: int | None = None) -> AsyncListing[models.KeyAnswer]:
        """List keys, oldest first; for admins."""
        return AsyncListing(self._session.pages(models.KeyAnswer, "/v1/keys", limit, {}))

    async def create_key(self, name: str, scopes: Sequence[str] = ("read",), expires_at: str | None = None) -> models.NewKeyAnswer:
        """Make a key, whose text this answer alone has; for admins."""
        wanted = given({"name": name, "scopes": list(scopes), "expires_at": expires_at})
        return await self._session.answer(models.NewKeyAnswer, "POST", "/v1/keys", json=wanted)

    async def get_own_key(self) -> models.KeyUsageAnswer:
        """Return your key's scopes, its quota, and what it uses of it."""
        return await self._session.answer(models.KeyUsageAnswer, "GET", "/v1/keys/self")

    async def get_key_usage(self, key_id: str) -> models.KeyUsageAnswer:
        """Return a key's quota, and what it uses of it; for admins."""
        return await self._session.answer(models.KeyUsageAnswer, "GET", _path("/v1/keys/{}/usage", key_id))

    async def set_key_quota(self, key_id: str, quota: Mapping[str, Any]) -> models.KeyUsageAnswer:
        """Set what a key may use; a limit left out is none. For admins."""
        return await self._session.answer(models.KeyUsageAnswer, "PUT", _path("/v1/keys/{}/quota", key_id), json=quota)

    async def revoke_key(self, key_id: str) -> models.KeyAnswer:
        """Revoke a key for good; for admins."""
        return await self._session.answer(models.KeyAnswer, "DELETE", _path("/v1/keys/{}", key_id))

    def list_audit_entries(self, limit: int | None = None, **filters: Unpack[models.ListAuditEntriesFilters]) -> AsyncListing[models.AuditAnswer]:
        """List what was changed, or refused, newest first; for admins."""
        return AsyncListing(self._session.pages(models.AuditAnswer, "/v1/audit", limit, filters))

    async def submit_check(self, spec: Mapping[str, Any], idempotency_key: str | None = None) -> models.CheckAnswer:
        """Check a job's dictionary on a sample; the answer's `id` is followed as a job's."""
        headers = _key(idempotency_key)
        return await self._session.answer(models.CheckAnswer, "POST", "/v1/checks", json=spec, headers=headers, timeout=SUBMIT_TIMEOUT)

    async def get_check(self, check_id: str) -> models.CheckAnswer:
        """Return a check, with its report once it has completed."""
        return await self._session.answer(models.CheckAnswer, "GET", _path("/v1/checks/{}", check_id))

    def list_webhook_deliveries(self, job_id: str, limit: int | None = None) -> AsyncListing[models.DeliveryAnswer]:
        """List a job's webhook events and their delivery."""
        return AsyncListing(self._session.pages(models.DeliveryAnswer, _path("/v1/jobs/{}/webhook-deliveries", job_id), limit, {}))

    async def get_job_usage(self, job_id: str) -> models.UsageAnswer:
        """Return what a job has asked of language models."""
        return await self._session.answer(models.UsageAnswer, "GET", _path("/v1/jobs/{}/usage", job_id))

    def list_job_calls(self, job_id: str, limit: int | None = None, **filters: Unpack[models.ListJobCallsFilters]) -> AsyncListing[models.CallAnswer]:
        """List a job's calls to language models."""
        return AsyncListing(self._session.pages(models.CallAnswer, _path("/v1/jobs/{}/calls", job_id), limit, filters))

    def stream_job_events(self, job_id: str) -> AsyncListing[Event]:
        """Yield the job's events until it ends, connecting again after interruptions.

        Each event holds the job's whole progress. Raises UnreachableError where the server stays away.
        """
        return AsyncListing(self._session.events(_path("/v1/jobs/{}/events", job_id)))

    async def wait(self, job_id: str, timeout_seconds: float | None = None, show: bool | None = None) -> models.JobAnswer:
        """Follow a job to its end and return it.

        Raises JobNotCompletedError if it fails, is cancelled or pauses, and WaitTimeoutError. In notebooks and terminals a bar is shown, unless
        `show` says otherwise.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        display = follow_display(show)
        events = AsyncListing(self._session.events(_path("/v1/jobs/{}/events", job_id), deadline))
        try:
            async for event in events:
                display(event.data)
                if event.data["status"] in STOPS:
                    break
        finally:
            await events.aclose()
        job = await self.get_job(job_id)
        if job["status"] != "completed":
            raise JobNotCompletedError(job)
        return job

    def list_dictionaries(self, limit: int | None = None) -> AsyncListing[models.DictionaryAnswer]:
        """List all dictionaries."""
        return AsyncListing(self._session.pages(models.DictionaryAnswer, "/v1/dictionaries", limit, {}))

    async def get_dictionary(self, dictionary: str) -> models.DictionaryAnswer:
        """Return a dictionary, with its current run's features by state."""
        return await self._session.answer(models.DictionaryAnswer, "GET", _path("/v1/dictionaries/{}", dictionary))

    async def get_dictionary_figures(self, dictionary: str, run: str | None = None) -> models.FiguresAnswer:
        """Return a run's distributions of figures, coverage, and explainers beside scorers."""
        path = _path("/v1/dictionaries/{}/figures", dictionary)
        return await self._session.answer(models.FiguresAnswer, "GET", path, params=given({"run": run}))

    async def get_dictionary_health(self, dictionary: str, run: str | None = None, against: Sequence[str] = ()) -> models.HealthAnswer:
        """Return a dictionary's health report, of its current run by default, compared with others."""
        params = given({"run": run}) | {"against": list(against)}
        return await self._session.answer(models.HealthAnswer, "GET", _path("/v1/dictionaries/{}/health", dictionary), params=params)

    async def get_dictionary_league(self, dictionary: str, run: str | None = None) -> models.LeagueAnswer:
        """Return the explainers of a run, the current one by default, compared."""
        path = _path("/v1/dictionaries/{}/league", dictionary)
        return await self._session.answer(models.LeagueAnswer, "GET", path, params=given({"run": run}))

    async def get_dictionary_stability(self, dictionary: str, difference: float = 0.01) -> models.StabilityAnswer:
        """Return how stable a dictionary's scores are, by explainer and scorer."""
        path = _path("/v1/dictionaries/{}/stability", dictionary)
        return await self._session.answer(models.StabilityAnswer, "GET", path, params={"difference": difference})

    async def get_dictionary_map(
        self,
        dictionary: str,
        run: str | None = None,
        colour: str = "score",
        q: str | None = None,
        mode: str | None = None,
        hits: int | None = None,
        points: bool = True,
    ) -> models.MapAnswer:
        """Return the features in a plane, coloured by a figure of a run.

        `hits` are what `q` finds. The columns of `points` are base64 of little-endian numbers: `np.frombuffer(base64.b64decode(points["x"]), "<f4")`.
        """
        params = given({"run": run, "colour": colour, "q": q, "mode": mode, "hits": hits, "points": None if points else "false"})
        return await self._session.answer(models.MapAnswer, "GET", _path("/v1/dictionaries/{}/map", dictionary), params=params)

    async def pin_current_run(self, dictionary: str, run: str) -> models.DictionaryAnswer:
        """Pin a run as the dictionary's current one."""
        path = _path("/v1/dictionaries/{}/current-run", dictionary)
        return await self._session.answer(models.DictionaryAnswer, "PUT", path, json={"run": run})

    async def unpin_current_run(self, dictionary: str) -> models.DictionaryAnswer:
        """Leave the dictionary's current run to the rule again."""
        return await self._session.answer(models.DictionaryAnswer, "DELETE", _path("/v1/dictionaries/{}/current-run", dictionary))

    def list_features(
        self, dictionary: str, limit: int | None = None, **filters: Unpack[models.ListFeaturesFilters]
    ) -> AsyncListing[models.ListedFeature]:
        """List the features of one run with their best explanations."""
        return AsyncListing(self._session.pages(models.ListedFeature, _path("/v1/dictionaries/{}/features", dictionary), limit, filters))

    def stream_features(self, dictionary: str, form: str, **filters: Unpack[models.ListFeaturesFilters]) -> AsyncListing[bytes]:
        """Yield all features that match as one stream of bytes: `jsonl`, `csv`, `arrow` or `parquet`."""
        return AsyncListing(self._session.blocks(_path("/v1/dictionaries/{}/features", dictionary), {"format": form} | dict(filters)))

    async def submit_export(self, request: Mapping[str, Any]) -> models.ExportAnswer:
        """Ask for an export; it is followed by `get_export`."""
        return await self._session.answer(models.ExportAnswer, "POST", "/v1/exports", json=request)

    def list_exports(self, limit: int | None = None) -> AsyncListing[models.ExportAnswer]:
        """List your exports, newest first."""
        return AsyncListing(self._session.pages(models.ExportAnswer, "/v1/exports", limit, {}))

    async def get_export(self, export_id: str) -> models.ExportDetail:
        """Return an export, with its manifest once it is complete."""
        return await self._session.answer(models.ExportDetail, "GET", _path("/v1/exports/{}", export_id))

    async def delete_export(self, export_id: str) -> models.ExportAnswer:
        """Delete an export and its file."""
        return await self._session.answer(models.ExportAnswer, "DELETE", _path("/v1/exports/{}", export_id))

    async def get_export_content(self, export_id: str, target: Path | str) -> Path:
        """Download the file of a completed export, from where `target` ends.

        It is resumed after lost connections. `target` holds the file's beginning or does not exist. Raises UnreachableError after some attempts that
        brought nothing, and for a file whose digest is another.
        """
        made = await self.get_export(export_id)
        await download(self._session, _path("/v1/exports/{}/content", export_id), Path(target), made["bytes"] or 0, made["sha256"] or "")
        return Path(target)

    def list_batches(self, limit: int | None = None, **filters: Unpack[models.ListBatchesFilters]) -> AsyncListing[models.BatchAnswer]:
        """List the batches of models that are asked by files, newest first."""
        return AsyncListing(self._session.pages(models.BatchAnswer, "/v1/batches", limit, filters))

    def stream_batch_requests(self, batch_id: str) -> AsyncListing[bytes]:
        """Yield an open batch's questions as JSON Lines, which `vllm run-batch` takes."""
        return AsyncListing(self._session.blocks(_path("/v1/batches/{}/requests", batch_id), {}))

    async def put_batch_results(self, batch_id: str, path: Path | str) -> models.BatchResultsAnswer:
        """Import a file of results, as `vllm run-batch` writes it; it may be sent again.

        ApiError (`upload-invalid`) says that no line is of the batch. Raises OSError for a file that cannot be read.
        """
        path = Path(path)
        headers = {"Content-Type": "application/jsonl", "Content-Length": str(path.stat().st_size)}
        return await self._session.answer(
            models.BatchResultsAnswer,
            "PUT",
            _path("/v1/batches/{}/results", batch_id),
            repeatable=True,
            content=lambda: blocks_of(path, lambda _sent: None),
            headers=headers,
            timeout=UPLOAD_TIMEOUT,
        )

    async def create_review(
        self, dictionary: str, index: int | str, verdict: str, text: str | None = None, comment: str | None = None, run: str | None = None
    ) -> models.ReviewAnswer:
        """Accept, edit (with `text`), flag or comment the listed label of a feature."""
        path, wanted = _path("/v1/dictionaries/{}/features/{}/reviews", dictionary, index), {"verdict": verdict, "text": text, "comment": comment}
        return await self._session.answer(models.ReviewAnswer, "POST", path, json=given(wanted), params=given({"run": run}))

    def list_reviews(self, limit: int | None = None, **filters: Unpack[models.ListReviewsFilters]) -> AsyncListing[models.ReviewAnswer]:
        """List reviews, newest first."""
        return AsyncListing(self._session.pages(models.ReviewAnswer, "/v1/reviews", limit, filters))

    async def get_review_queue(
        self,
        dictionary: str,
        limit: int | None = None,
        order: str | None = None,
        seed: int | None = None,
        list: str | None = None,  # noqa: A002
        run: str | None = None,
    ) -> models.QueueAnswer:
        """Return features whose label you have not judged: `worst` first, or a `random` sample."""
        params = given({"limit": limit, "order": order, "seed": seed, "list": list, "run": run})
        return await self._session.answer(models.QueueAnswer, "GET", _path("/v1/dictionaries/{}/review-queue", dictionary), params=params)

    async def get_agreement(self, dictionary: str, run: str | None = None) -> models.AgreementAnswer:
        """Return how people's verdicts agree with scorers, and with one another."""
        path = _path("/v1/dictionaries/{}/agreement", dictionary)
        return await self._session.answer(models.AgreementAnswer, "GET", path, params=given({"run": run}))

    async def create_feature_list(self, name: str, features: Sequence[str] = (), description: str = "") -> models.ListAnswer:
        """Make a named list of features, each written `dictionary:index`."""
        wanted = {"name": name, "description": description, "features": list(features)}
        return await self._session.answer(models.ListAnswer, "POST", "/v1/lists", json=wanted)

    def list_feature_lists(self, limit: int | None = None, owner: str | None = None) -> AsyncListing[models.ListAnswer]:
        """List all lists of features, oldest first."""
        return AsyncListing(self._session.pages(models.ListAnswer, "/v1/lists", limit, {"owner": owner}))

    async def get_feature_list(self, reference: str | int) -> models.ListAnswer:
        """Return a list of features, by id or name."""
        return await self._session.answer(models.ListAnswer, "GET", _path("/v1/lists/{}", reference))

    def list_listed_features(self, reference: str | int, limit: int | None = None) -> AsyncListing[models.ListedName]:
        """List the names of a list's features."""
        return AsyncListing(self._session.pages(models.ListedName, _path("/v1/lists/{}/features", reference), limit, {}))

    async def change_feature_list(
        self, reference: str | int, add: Sequence[str] = (), remove: Sequence[str] = (), name: str | None = None, description: str | None = None
    ) -> models.ListAnswer:
        """Add features to a list and remove others, rename it, or describe it."""
        wanted = {"add": list(add), "remove": list(remove)} | given({"name": name, "description": description})
        return await self._session.answer(models.ListAnswer, "PATCH", _path("/v1/lists/{}", reference), repeatable=True, json=wanted)

    async def delete_feature_list(self, reference: str | int) -> models.ListAnswer:
        """Delete a list; its features stay."""
        return await self._session.answer(models.ListAnswer, "DELETE", _path("/v1/lists/{}", reference))

    async def search_labels(
        self, limit: int | None = None, cursor: str | None = None, **filters: Unpack[models.SearchLabelsFilters]
    ) -> models.SearchPage:
        """Return one page of the features whose labels say or mean `q`."""
        params = given({"limit": limit, "cursor": cursor, **filters})
        return await self._session.answer(models.SearchPage, "GET", "/v1/search", params=params)

    async def compute_activations(
        self,
        dictionary: str,
        texts: Sequence[str],
        against: Sequence[str] = (),
        features: Sequence[int | str] = (),
        top_k: int = 10,
        per_token: int = 0,
        run: str | None = None,
        deadline_seconds: float = 30.0,
    ) -> models.ActivationsAnswer:
        """Run texts through the model: activations of `features`, and the strongest of all.

        With `against`, `differences` ranks the features that fire on `texts` and not on those. ApiError (503) says what the answer waits for where
        no gpu worker has the model open in time.
        """
        asked = {"texts": list(texts), "against": list(against), "features": list(features), "top_k": top_k, "per_token": per_token}
        return await self._live(models.ActivationsAnswer, _path("/v1/dictionaries/{}/activations", dictionary), asked, run, deadline_seconds)

    async def steer_text(
        self,
        dictionary: str,
        feature: int | str,
        prompt: str,
        strength: float = 1.0,
        unit: str = "max",
        seeds: Sequence[int] = (0,),
        max_new_tokens: int = 32,
        temperature: float = 0.7,
        run: str | None = None,
        deadline_seconds: float = 30.0,
    ) -> models.SteerAnswer:
        """Continue a prompt with a feature's direction added, and without.

        `strength` is in largest activations of the feature, or (`unit` "activation") in activations.
        """
        asked = {"feature": str(feature), "prompt": prompt, "strength": strength, "unit": unit, "seeds": list(seeds)}
        asked |= {"max_new_tokens": max_new_tokens, "temperature": temperature}
        return await self._live(models.SteerAnswer, _path("/v1/dictionaries/{}/steer", dictionary), asked, run, deadline_seconds)

    async def get_live_state(self, dictionary: str, run: str | None = None) -> models.LiveStateAnswer:
        """Return whether the model at hand answers at once, or what requests wait for."""
        return await self._session.answer(models.LiveStateAnswer, "GET", _path("/v1/dictionaries/{}/live", dictionary), params=given({"run": run}))

    async def _live(self, kind: type[Answer], path: str, asked: Mapping[str, Any], run: str | None, seconds: float) -> Answer:
        body = given({**asked, "run": run, "deadline_seconds": seconds})
        return await self._session.answer(kind, "POST", path, json=body, timeout=httpx.Timeout(seconds + LIVE_MARGIN, connect=3))

    async def get_feature(self, dictionary: str, index: int | str, items: bool = False, run: str | None = None) -> models.FeatureAnswer:
        """Return everything of one feature; with `items` every question and answer of its scores."""
        path = _path("/v1/dictionaries/{}/features/{}", dictionary, index)
        return await self._session.answer(models.FeatureAnswer, "GET", path, params=given({"items": items, "run": run}))

    async def get_feature_provenance(self, dictionary: str, index: int | str, run: str | None = None) -> models.ProvenanceAnswer:
        """Return every prompt, reply, item and verdict behind a feature's labels and scores."""
        path = _path("/v1/dictionaries/{}/features/{}/provenance", dictionary, index)
        return await self._session.answer(models.ProvenanceAnswer, "GET", path, params=given({"run": run}))

    def list_runs(self, dictionary: str | None = None, limit: int | None = None) -> AsyncListing[models.RunAnswer]:
        """List the runs of a dictionary, or of all."""
        return AsyncListing(self._session.pages(models.RunAnswer, "/v1/runs", limit, {"dictionary": dictionary}))

    async def get_run(self, run_id: int) -> models.RunAnswer:
        """Return a run with the settings that decide its evidence."""
        return await self._session.answer(models.RunAnswer, "GET", _path("/v1/runs/{}", run_id))

    def list_explanations(
        self, limit: int | None = None, **filters: Unpack[models.ListExplanationsFilters]
    ) -> AsyncListing[models.ExplanationAnswer]:
        """List explanations with their scores."""
        return AsyncListing(self._session.pages(models.ExplanationAnswer, "/v1/explanations", limit, filters))

    async def is_ready(self) -> bool:
        """Return whether a Glossator server answers and is ready."""
        response = await self._session.probe("/readyz")
        return response is not None and response.status_code == httpx.codes.OK

    async def is_glossator(self) -> bool:
        """Return whether a Glossator server answers, ready or not."""
        response = await self._session.probe("/readyz")
        try:
            answer = None if response is None else response.json()
        except ValueError:
            return False
        return isinstance(answer, dict) and "ready" in answer


def _path(template: str, *segments: object) -> str:
    return template.format(*(quote(str(segment), safe="@") for segment in segments))


def _key(idempotency_key: str | None) -> dict[str, str]:
    """Return the header of a key; one of its own makes a submission repeatable."""
    return {IDEMPOTENCY_KEY: idempotency_key or uuid4().hex}
