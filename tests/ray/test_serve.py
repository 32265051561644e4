"""A student behind HTTP: answers like `predict`, one line for what a client can mend, a replica that comes back."""

import io
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.browser import NEEDS_CHROMIUM, opened
from helpers.http_calls import call, free_port
from helpers.listeners import accepts, other_addresses
from helpers.small_students import digits, image_student
from PIL import Image
from support import MARK, processes, wait_for

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("ray_session")]
pytest.importorskip("fastapi", reason="Ray Serve is not installed: pip install 'hydra-ray[serve]'")


@pytest.fixture(scope="module")
def url(ray_session, tmp_path_factory):
    from hydra_ray.cluster.serve import serving

    folder = tmp_path_factory.mktemp("served") / "student"
    image_student().save_pretrained(folder)
    with serving(str(folder), port=free_port(), replicas=1) as found:
        yield found


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(stream, "png")
    return stream.getvalue()


def test_it_lives_and_says_what_it_is(url):
    assert call(f"{url}/healthz") == (200, {"status": "ok"})
    status, about = call(f"{url}/metadata")
    assert status == 200
    assert about["kind"] == "hydra"
    assert about["inputs"] == {"shape": [8, 8, 1]}
    assert about["classes"][3] == "digit 3"


def test_answers_are_those_of_predict(url):
    pixels = digits()[0][:7]
    expected = image_student().predict(pixels)
    status, found = call(f"{url}/predict", {"rows": pixels.tolist()})
    assert status == 200
    assert [row["prediction"] for row in found["rows"]] == list(expected.classes)
    for number, row in enumerate(found["rows"]):
        assert row["total_uncertainty"] == pytest.approx(expected.total[number], rel=1e-4, abs=1e-9)
        assert row["knowledge_uncertainty"] == pytest.approx(expected.knowledge[number], rel=1e-4, abs=1e-9)
        assert row["abstain"] == bool(expected.abstain[number])
        assert row["set_90"] == list(expected.class_sets()[number])
        chances = [row[f"probability_digit {c}"] for c in range(10)]
        np.testing.assert_allclose(chances, expected.probabilities[number], rtol=1e-4, atol=1e-9)
    status, found = call(f"{url}/predict", png(pixels[0]), "image/png")
    assert found["rows"][0]["prediction"] == expected.classes[0]


def test_of_64_clients_each_gets_its_own_answers(url):
    pixels = digits()[0]
    expected = image_student().predict(pixels)

    def one(number):
        rows = [number % len(pixels), (7 * number + 1) % len(pixels)][: 1 + number % 2]
        status, found = call(f"{url}/predict", {"rows": pixels[rows].tolist()})
        assert status == 200
        given = [row["total_uncertainty"] for row in found["rows"]]
        return np.allclose(given, expected.total[rows], rtol=1e-3, atol=1e-7)

    with ThreadPoolExecutor(64) as clients:
        assert all(clients.map(one, range(512)))


REFUSED = {
    "another shape": ([[1, 2, 3]], "application/json", 400, "rows have shape [3]"),
    "channels in front": (np.zeros((1, 1, 8, 8), int).tolist(), "application/json", 400, "channels come last"),
    "floats": ((digits()[0][:1] / 255).tolist(), "application/json", 400, "lie between 0 and 1"),
    "beyond a byte": ([[[300]]], "application/json", 400, "from 0 to 255"),
    "text": ([["a"]], "application/json", 400, "something else than numbers"),
    "ragged": ([[[1]], [[1, 2]]], "application/json", 400, "different shapes"),
    "no rows": ({"rows": []}, "application/json", 400, "no rows"),
    "no JSON": (b"{rows", "application/json", 400, "no JSON"),
    "deep JSON": (b"[" * 100_000, "application/json", 400, "no JSON"),
    "a broken image": (png(digits()[0][0])[:50], "image/png", 400, "is no image"),
    "an empty body": (b"", "image/png", 400, "empty"),
    "too large": (b"0" * 20_000_001, "image/png", 413, "at most 20,000,000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_client_can_mend_is_one_line_and_the_replica_lives(url, case):
    body, kind, status, said = REFUSED[case]
    code, found = call(f"{url}/predict", body, kind)
    assert code == status
    assert said in found["error"]
    assert "\n" not in found["error"]
    assert call(f"{url}/healthz")[0] == 200


def test_a_bad_request_spoils_no_other_in_its_batch(url):
    pixels = digits()[0][:1].tolist()
    with ThreadPoolExecutor(32) as clients:
        bodies = [{"rows": pixels} if n % 2 else {"rows": [[1, 2, 3]]} for n in range(128)]
        codes = list(clients.map(lambda body: call(f"{url}/predict", body)[0], bodies))
    assert codes == [200 if n % 2 else 400 for n in range(128)]


def test_an_unknown_path_says_what_there_is(url):
    code, found = call(f"{url}/predictions", {"rows": []})
    assert code == 404
    assert "POST /predict" in found["error"]


def test_nobody_else_reaches_it(url):
    port = int(url.rsplit(":", 1)[1])
    assert accepts("127.0.0.1", port)
    assert [address for address in other_addresses() if accepts(address, port)] == []


@NEEDS_CHROMIUM
def test_a_person_drops_an_image_on_the_page(url, tmp_path):
    number = int(np.argmin(image_student().predict(digits()[0]).total))
    (tmp_path / "digit.png").write_bytes(png(digits()[0][number]))
    (tmp_path / "none.png").write_bytes(b"no image")
    with opened(f"{url}/", tmp_path / "profile") as page:
        page.choose("#file", tmp_path / "digit.png")
        page.wait_for("!document.getElementById('result').hidden")
        expected = image_student().predict(digits()[0][number]).classes[0]
        assert page.value("document.getElementById('answer').textContent") == expected
        assert page.value("document.querySelectorAll('.bar').length") == 5
        assert page.value("document.querySelectorAll('svg').length") == 2
        assert page.value("document.getElementById('abstain').hidden") is True
        page.choose("#file", tmp_path / "none.png")
        shown = "!document.getElementById('error').hidden && document.getElementById('error').textContent"
        assert "is no image" in page.wait_for(shown)


def test_a_killed_replica_comes_back(url):
    (replica,) = processes(os.environ[MARK], "ray::ServeReplica")
    os.kill(replica, signal.SIGKILL)

    def answers():
        try:
            return call(f"{url}/predict", {"rows": digits()[0][:1].tolist()})[0] == 200
        except (OSError, ValueError):
            return False

    time.sleep(0.5)
    wait_for(answers, 90, "an answer after the replica's death")
