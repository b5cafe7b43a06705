"""Solvers: their order, evaluations, derivatives, and likelihoods along the flow."""

import equinox as eqx
import fields
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from raising import fails

from wtflow_jax.flow import ode

X0 = jnp.array([[0.3, -1.2, 2.0], [1.5, -2.5, 0.0]])


@pytest.mark.parametrize("name", ode.SOLVERS)
def test_reaches_the_analytic_endpoint(name):
    solver = ode.SOLVERS.make(name)
    x1 = ode.push_forward(fields.gaussian_velocity, fields.PARAMS, X0, steps=400, solver=solver)
    expected = fields.gaussian_endpoint(fields.PARAMS, X0)
    np.testing.assert_allclose(x1, expected, atol=0.02 if solver.each == 1 else 1e-4)


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        *((ode.EULER, 1), (ode.HEUN, 2), (ode.MIDPOINT, 2), (ode.RALSTON, 2)),
        (ode.BOSH3, 3),
    ],
)
def test_order_of_convergence(solver, order):
    def end(steps, solver):
        return ode.push_forward(fields.pendulum, None, X0, steps=steps, solver=solver)

    expected = end(200, ode.DOPRI5)

    def error(steps):
        return float(jnp.abs(end(steps, solver) - expected).max())

    measured = np.log2(error(8) / error(16))
    assert abs(measured - order) < 0.25


def test_one_euler_step_is_x_plus_v_at_zero():
    x1 = ode.push_forward(fields.gaussian_velocity, fields.PARAMS, X0)
    v = jax.vmap(lambda x: fields.gaussian_velocity(fields.PARAMS, 0.0, x))(X0)
    np.testing.assert_allclose(x1, X0 + v, rtol=1e-6)


@pytest.mark.parametrize("name", ode.SOLVERS)
@pytest.mark.parametrize("steps", [1, 20])
def test_network_evaluations(name, steps):
    solver, calls = ode.SOLVERS.make(name), []

    def counted(params, t, x):
        jax.debug.callback(lambda: calls.append(1))
        return params * x

    ode.push_forward(counted, jnp.float32(0.1), X0[:1], steps=steps, solver=solver)
    jax.effects_barrier()
    assert len(calls) == solver.first + solver.each * steps


@pytest.mark.parametrize("solver", [ode.HEUN, ode.DOPRI5, ode.TSIT5])
def test_adaptive_steps_reach_the_endpoint_and_count_their_evaluations(solver):
    calls = []

    def counted(params, t, x):
        jax.debug.callback(lambda: calls.append(1))
        return fields.gaussian_velocity(params, t, x)

    found = {}
    for tolerance in (1e-2, 1e-5):
        calls.clear()
        x1, evaluations = ode.push_forward_adaptive(
            counted, fields.PARAMS, X0[:1], tolerance=tolerance, solver=solver
        )
        jax.block_until_ready(x1)
        jax.effects_barrier()
        assert len(calls) == int(evaluations[0])
        expected = fields.gaussian_endpoint(fields.PARAMS, X0[:1])
        found[tolerance] = float(jnp.abs(x1 - expected).max()), int(evaluations[0])
    assert found[1e-5][0] < 1e-4
    assert found[1e-5][1] > found[1e-2][1]


def test_adaptive_steps_that_do_not_arrive_give_nan():
    def wild(params, t, x):
        return 1e4 * jnp.sin(1e6 * t + x)

    x1, _ = ode.push_forward_adaptive(wild, None, X0, tolerance=1e-7)
    assert np.isnan(x1).all()


def test_one_trace_for_all_parameters():
    traces = []

    def counted(params, t, x):
        traces.append(1)
        return params * x

    ode.push_forward(counted, jnp.float32(0.1), X0, steps=3)
    before = len(traces)
    ode.push_forward(counted, jnp.float32(0.7), 2 * X0, steps=3)
    assert len(traces) == before


@pytest.mark.parametrize("start", [0.0, 0.3])
@pytest.mark.parametrize("name", ["heun", "tsit5"])
def test_back_and_forth(name, start):
    how = {"steps": 200, "solver": name, "t_start": start}
    ends = ode.push_forward(fields.pendulum, None, X0, **how)
    back = ode.pull_back(fields.pendulum, None, ends, **how)
    np.testing.assert_allclose(back, X0, atol=1e-4)


def test_noise_comes_to_the_law_of_the_data():
    """Generation: N(0, I) along the exact field of N(μ, σ²I)."""
    x1 = jax.random.normal(jax.random.key(0), (4000, 3))
    params = fields.PARAMS
    found = ode.pull_back(fields.gaussian_velocity, params, x1, steps=100, solver="heun")
    ends = fields.gaussian_endpoint(params, found)
    np.testing.assert_allclose(ends, x1, atol=1e-2)


@pytest.mark.long
@pytest.mark.parametrize("adjoint", ["direct", "forward"])
def test_every_adjoint_has_the_same_derivative(adjoint):
    def along(adjoint):
        def end(scale):
            field = fields.gaussian_velocity
            how = {"steps": 5, "solver": "heun", "adjoint": adjoint}
            x1 = ode.push_forward(field, fields.PARAMS, scale * X0, **how)
            return jnp.sum(x1**2) + jnp.sum(
                ode.log_likelihood(field, fields.PARAMS, scale * X0, **how)
            )

        return end

    expected = jax.grad(along("checkpoints"))(jnp.float32(0.7))
    derive = jax.jacfwd if adjoint == "forward" else jax.grad
    np.testing.assert_allclose(derive(along(adjoint))(jnp.float32(0.7)), expected, rtol=1e-4)


def test_trajectory_holds_every_step():
    path = ode.trajectory(fields.gaussian_velocity, fields.PARAMS, X0, steps=7)
    assert path.shape == (2, 8, 3)
    np.testing.assert_array_equal(path[:, 0], X0)
    end = ode.push_forward(fields.gaussian_velocity, fields.PARAMS, X0, steps=7)
    np.testing.assert_allclose(path[:, -1], end, rtol=1e-6)
    first = X0 + jax.vmap(lambda x: fields.gaussian_velocity(fields.PARAMS, 0.0, x))(X0) / 7
    np.testing.assert_allclose(path[:, 1], first, rtol=1e-5)


def test_running_backwards_returns():
    params = {"a": jnp.array([0.5, -1.0, 0.2]), "b": jnp.array([1.0, 0.0, -2.0])}

    def backwards(params, t, x):
        return -fields.linear_velocity(params, 1 - t, x)

    there = ode.push_forward(fields.linear_velocity, params, X0, steps=50, solver=ode.DOPRI5)
    back = ode.push_forward(backwards, params, there, steps=50, solver=ode.DOPRI5)
    assert float(jnp.abs(there - X0).max()) > 0.3
    np.testing.assert_allclose(back, X0, atol=1e-5)


def test_differentiable_in_the_parameters():
    def endpoint(a):
        params = {"a": a, "b": jnp.float32(0)}
        return ode.push_forward(
            fields.linear_velocity, params, X0[:1], steps=20, solver=ode.TSIT5
        ).sum()

    gradient = jax.grad(endpoint)(jnp.float32(0.3))
    np.testing.assert_allclose(gradient, np.exp(0.3) * X0[0].sum(), rtol=1e-4)


def test_a_later_start_carries_the_shrunk_sample():
    """One Euler step from T ends at (1 − T)·(x0 + v((1 − T)·x0, T))."""
    x0 = jnp.array([[1.0, -2.0], [0.5, 3.0]])
    start = 0.3
    end = ode.push_forward(fields.pendulum, None, x0, t_start=start)
    v = fields.pendulum(None, start, (1 - start) * x0)
    np.testing.assert_allclose(end, (1 - start) * (x0 + v), rtol=1e-6)


@pytest.mark.parametrize("start", [0.0, 0.999999, 1 - 2**-24])
@pytest.mark.parametrize("steps", [1, 20])
def test_solves_that_begin_at_the_end(start, steps):
    """φ = x̂1/(1 − T) of a linear velocity, of Euler steps in float64."""
    params = {"a": jnp.float32(0.7), "b": jnp.float32(-0.3)}
    x0 = np.array([[1e-6, 1.0, -1e6]], np.float32)
    start = np.float32(start)
    end = ode.push_forward(
        fields.linear_velocity, params, jnp.asarray(x0), steps=steps, t_start=start
    )
    x, left = (1 - float(start)) * x0.astype(np.float64), 1 - float(start)
    for i in range(steps):
        t = float(start) + left * i / steps
        x = x + left / steps * (0.7 * x - 0.3 * t)
    np.testing.assert_allclose(np.asarray(end) / (1 - start), x / left, rtol=2e-6)
    options = {"steps": steps, "solver": ode.EULER, "t_start": start}
    nats = ode.log_likelihood(fields.linear_velocity, params, jnp.asarray(x0), **options)
    assert bool(jnp.isfinite(nats).all())


def log_normal(x):
    mean, scale = fields.PARAMS["mean"], fields.PARAMS["scale"]
    z = (x - mean) / scale
    return -0.5 * jnp.sum(z**2, axis=1) - 3 * jnp.log(scale) - 1.5 * jnp.log(2 * jnp.pi)


def test_log_likelihood_of_a_gaussian():
    x = fields.PARAMS["mean"] + jax.random.normal(jax.random.key(0), (6, 3))
    exact = ode.log_likelihood(fields.gaussian_velocity, fields.PARAMS, x, steps=100)
    np.testing.assert_allclose(exact, log_normal(x), rtol=1e-3)
    # The Jacobian is a multiple of the identity: Rademacher probes make no error.
    estimate = ode.log_likelihood(
        fields.gaussian_velocity, fields.PARAMS, x, jax.random.key(0), steps=100
    )
    np.testing.assert_allclose(estimate, exact, rtol=1e-5)


@pytest.mark.slow
def test_hutchinsons_estimate_is_unbiased():
    a = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4)), jnp.float32)

    def linear(a, t, x):
        return a @ x

    x = jnp.ones((1, 4))
    exact = ode.log_likelihood(linear, a, x, steps=20)
    few = ode.log_likelihood(linear, a, jnp.ones((500, 4)), jax.random.key(0), steps=20, probes=2)
    off_diagonal = np.sum((a + a.T) ** 2) / 2 - 2 * np.sum(jnp.diag(a) ** 2)
    error = np.sqrt(off_diagonal / (2 * 500))
    assert abs(float(few.mean()) - float(exact[0])) < 4 * error
    assert float(few.std()) > 0


# Arguments of a caller


KEY = jax.random.key(0)
CALLS = {
    "push_forward": lambda *field, **more: ode.push_forward(*field, **more),
    "trajectory": lambda *field, **more: ode.trajectory(*field, **more),
    "log_likelihood": lambda *field, **more: ode.log_likelihood(*field, **more),
    "hutchinson": lambda *field, **more: ode.log_likelihood(*field, KEY, **more),
    "adaptive": lambda *field, **more: ode.push_forward_adaptive(*field, tolerance=1e-3, **more)[0],
}
EACH = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@EACH
def test_a_solver_by_its_name(call):
    by_name, itself = (call(fields.pendulum, None, X0, solver=s) for s in ("heun", ode.HEUN))
    np.testing.assert_array_equal(by_name, itself)
    with fails("--solver rk4: no such choice; take one of euler, heun"):
        call(fields.pendulum, None, X0, solver="rk4")
    with fails("solver Heun", "give one of euler, heun", "or an ode.Method of a solver of Diffrax"):
        call(fields.pendulum, None, X0, solver=ode.HEUN.method)


@EACH
def test_what_is_no_array_or_has_no_hash(call):
    network = eqx.nn.MLP(3, 3, 8, 1, key=KEY)
    arrays, rest = eqx.partition(network, eqx.is_array)

    def whole(params, t, x):
        return params(x)

    def parted(params, t, x):
        return eqx.combine(params, rest)(x)

    with fails(r"params\.activation: ", "not an array", r"equinox\.partition"):
        call(whole, network, X0)
    assert call(parted, arrays, X0).shape[0] == 2
    with fails(r"x0: ", "not an array but of type object"):
        call(fields.pendulum, None, np.array(X0, object))
    with fails("velocity_fn: a value of type MLP, which has no hash"):
        call(network, None, X0)
    with fails("solver: a value of type list"):
        call(fields.pendulum, None, X0, solver=[ode.HEUN])
    # Exceptions of a velocity itself pass through unchanged.
    with pytest.raises(TypeError, match="mine"):
        call(raising, None, X0)


def raising(params, t, x):
    raise TypeError("mine")


@pytest.mark.parametrize("steps", [0, -1])
def test_steps_that_are_none(steps):
    for name in ("push_forward", "trajectory", "log_likelihood"):
        with fails(f"steps {steps}: give at least 1, a whole number"):
            CALLS[name](fields.pendulum, None, X0, steps=steps)
    with fails("probes 0: give at least 1"):
        ode.log_likelihood(fields.pendulum, None, X0, KEY, probes=0)
    with fails("steps: a value of type .*, which has no hash; give a plain value"):
        ode.push_forward(fields.pendulum, None, X0, steps=jnp.int32(2))


@EACH
@pytest.mark.parametrize(
    "cast",
    [
        lambda x: np.asarray(x, np.float64),
        lambda x: np.asarray(x, np.float16),
        lambda x: x.astype(jnp.bfloat16),
        lambda x: x[:, 0],
        lambda x: x[:0],
    ],
    ids=["float64", "float16", "bfloat16", "one number a sample", "empty"],
)
def test_samples_of_other_kinds(call, cast):
    x0 = cast(2 * X0)
    found, wanted = (call(fields.pendulum, None, x) for x in (x0, jnp.asarray(x0, jnp.float32)))
    assert found.dtype == jnp.float32
    assert found.shape[0] == len(x0)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.long
@EACH
def test_other_settings_of_jax(call):
    wanted = call(fields.gaussian_velocity, fields.PARAMS, X0)
    with jax.numpy_dtype_promotion("strict"):
        found = call(fields.gaussian_velocity, fields.PARAMS, X0)
    np.testing.assert_array_equal(found, wanted)
    with jax.enable_x64(True):
        exact = call(fields.gaussian_velocity, fields.PARAMS, np.asarray(X0, np.float64))
        found = call(fields.gaussian_velocity, fields.PARAMS, np.asarray(X0))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
