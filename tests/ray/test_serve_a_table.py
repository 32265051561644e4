"""A table's student behind HTTP; in a file of its own, as Ray Serve has one port a session."""

import numpy as np
import pytest
from helpers.http_calls import call, free_port
from helpers.small_students import plane, table_student

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("ray_session")]
pytest.importorskip("fastapi", reason="Ray Serve is not installed: pip install 'hydra-ray[serve]'")


def test_a_table_is_asked_about_by_the_names_of_its_columns(tmp_path):
    from hydra_ray.cluster.serve import serving

    table_student().save_pretrained(tmp_path / "student")
    rows = plane()[0][:3].astype(float)
    expected = table_student().predict(rows)
    named = [dict(zip(("weight", "height", "age"), row[::-1], strict=True)) for row in rows.tolist()]
    with serving(str(tmp_path / "student"), port=free_port(), replicas=1) as url:
        for body in ({"rows": named}, {"rows": rows.tolist()}, named):
            status, found = call(f"{url}/predict", body)
            assert status == 200
            np.testing.assert_allclose([row["mean"] for row in found["rows"]], expected.mean, rtol=1e-5)
            assert found["rows"][0].keys() >= {"std", "low_95", "high_95", "knowledge_uncertainty"}
        code, found = call(f"{url}/predict", [{"age": 1.0}])
        assert code == 400
        assert "no column height" in found["error"]
        assert call(f"{url}/predict", b"png", "image/png")[0] == 400
