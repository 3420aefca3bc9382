"""Submit a job, follow it, search its labels, and write a page of them."""

import sys
from pathlib import Path

import yaml

from glossator import Client, notebook


def main(spec: Path, words: str, page: Path) -> None:
    """Run a job on the server of GLOSSATOR_API_URL, and show features by words of labels."""
    with Client() as client:
        job = client.submit_job(yaml.safe_load(spec.read_text(encoding="utf-8")))
        print(f"job {job.id}")
        dictionary = client.wait(job.id).runs[0].dictionary
        found = client.list_features(dictionary, 5, q=words, sort="shrunken_score", order="desc").to_list()
        for feature in found:
            print(f"{feature.name}  {feature.score}  {feature.label}")
        scores = notebook.show_histogram(client.list_features(dictionary, min_score=0))
        views = [scores, *(notebook.show(feature.name, client) for feature in found)]
    page.write_text("<!DOCTYPE html><meta charset='utf-8'>" + "<hr>".join(view.html for view in views), encoding="utf-8")
    print(f"saved {page}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
