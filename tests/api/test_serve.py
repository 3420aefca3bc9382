"""serve and db."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from api.cli import app, checks
from api.cli.commands import doctor, serve
from interp.config.settings import Settings
from tests.faults.waiting import until

GLOSSATOR = [sys.executable, "-c", "from api.cli import main; main()"]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"GLOSSATOR_HOME": str(home), "GLOSSATOR_PORT": "1"}


def test_serve_makes_its_database_takes_a_free_port_says_where_and_stops_on_sigterm(tmp_path: Path) -> None:
    command = [*GLOSSATOR, "serve", "--port", "0", "--no-workers", "--open"]
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    process = subprocess.Popen(
        command, env=environment(tmp_path / "home") | {"BROWSER": f"{browser} %s"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.communicate(timeout=30)[1]
        assert "`glossator keys create`" in process.stdout.readline(), "it says that there is no key"
        answer = httpx.get(f"{found[0]}/readyz").json()
        assert answer == {"ready": True, "checks": {"database": "ok", "migrations": "ok", "broker": "ok", "artifacts": "ok", "disk": "ok"}}
        assert httpx.get(f"{found[0]}/healthz").json()["status"] == "ok"
        assert f"pages: {found[0]}/," in line
        until(lambda: opened.exists() or None, "the browser, which --open starts")
        assert opened.read_text().strip() == f"{found[0]}/"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_serve_says_so_when_the_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [*GLOSSATOR, "serve", "--port", str(taken.getsockname()[1]), "--no-workers"]
        ran = subprocess.run(command, env=environment(tmp_path / "home"), capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 2
    assert "--port 0" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_db_upgrade_makes_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path)
    monkeypatch.setattr(serve, "settings", lambda: settings)
    monkeypatch.setattr(doctor, "settings", lambda: settings)
    monkeypatch.setattr(checks, "CHECKS", (checks.database,))
    result = CliRunner().invoke(app, ["db", "upgrade"], catch_exceptions=False)
    assert result.exit_code == 0
    [finding] = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert finding["well"]
    assert "at this version" in finding["detail"]
