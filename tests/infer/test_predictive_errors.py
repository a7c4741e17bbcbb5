"""What Predictive says of programs that do not work with all samples in one run, and of arguments in the wrong place."""

import pytest
import torch

import ember
from ember import distributions as dist
from ember.errors import ModelError
from ember.infer import SVI, Predictive, Trace_ELBO, WeighedPredictive, autoguide
from ember.optim import Adam

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(20) % 4


def product(y=None):
    b = ember.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with ember.plate("rows", 20):
        ember.sample("y", dist.Normal(X @ b, 1.0), obs=y)


def column(y=None):
    b = ember.sample("b", dist.Normal(torch.zeros(1), 1.0).to_event(1))
    with ember.plate("rows", 20):
        ember.sample("y", dist.Normal(X[:, :1] @ b, 1.0), obs=y)


def indexed(y=None):
    with ember.plate("classes", 4):
        locs = ember.sample("locs", dist.Normal(0.0, 1.0))
    with ember.plate("rows", 20):
        ember.sample("y", dist.Normal(locs[CLASSES], 1.0), obs=y)


@pytest.mark.parametrize("program", [product, column, indexed])
@pytest.mark.parametrize("with_guide", [False, True])
def test_what_does_not_broadcast_is_named(program, with_guide):
    guide = autoguide.AutoNormal(program).prepare(torch.zeros(20)) if with_guide else None
    with pytest.raises(ModelError, match=r"at site 'y'.*parallel=True") as caught:
        Predictive(program, guide=guide, num_samples=50, parallel=True)()
    assert "Vindex(locs)" in str(caught.value) and "parallel=False" in str(caught.value)
    sequential = Predictive(program, guide=guide, num_samples=4)()
    assert sequential["y"].shape == (4, 20)


@pytest.mark.parametrize("program", [product, indexed])
def test_weighed_samples_too(program):
    guide = autoguide.AutoNormal(program).prepare(torch.zeros(20))
    with pytest.raises(ModelError, match="at site 'y'"):
        WeighedPredictive(program, guide=guide, num_samples=50, parallel=True)()


def square(y=None):
    """Four samples, four classes, four rows: the shapes fit, and the samples are mixed up."""
    with ember.plate("classes", 4):
        locs = ember.sample("locs", dist.Normal(0.0, 1.0))
    with ember.plate("rows", 4):
        ember.sample("y", dist.Normal(locs[torch.tensor([0, 1, 2, 2])], 0.1), obs=y)


def summed(y=None):
    with ember.plate("classes", 4):
        locs = ember.sample("locs", dist.Normal(0.0, 1.0))
    with ember.plate("rows", 4):
        ember.sample("y", dist.Normal(locs.sum(0), 0.1), obs=y)


@pytest.mark.parametrize("program", [square, summed])
def test_numbers_of_the_right_shape_that_are_mixed_up(program):
    with pytest.raises(ModelError, match=r"at site 'y'.*another distribution"):
        Predictive(program, num_samples=4, parallel=True)()


def test_the_look_can_be_turned_off_and_draws_nothing():
    def program():
        a = ember.sample("a", dist.Normal(0.0, 1.0))
        ember.sample("b", dist.Normal(a, 1.0))

    def draw():
        ember.set_rng_seed(0)
        return Predictive(program, num_samples=5, parallel=True)()["b"]

    looked = draw()
    with ember.validation_enabled(False):
        assert torch.equal(draw(), looked)


def test_a_program_with_a_state_of_its_own_is_let_be():
    def program():
        a = ember.sample("a", dist.Normal(0.0, 1.0))
        ember.sample("b", dist.Normal(a + torch.randn(()), 1.0))

    assert Predictive(program, num_samples=5, parallel=True)()["b"].shape == (5,)


class TestPriorsThatCannotBeDrawn:
    """Where the guide, or the samples, have a site, the model's prior of it is not drawn from."""

    @staticmethod
    def model(y=None):
        z = ember.sample("z", dist.ImproperUniform(dist.constraints.positive, (), (2,)))
        with ember.plate("rows", 3):
            ember.sample("y", dist.Normal(z.sum(-1), 1.0), obs=y)

    @pytest.mark.parametrize("parallel", [False, True])
    def test_guide(self, parallel):
        guide = autoguide.AutoNormal(
            self.model, init_loc_fn=autoguide.init_to_value(values={"z": torch.ones(2)})
        )
        guide.prepare(torch.ones(3))
        drawn = Predictive(self.model, guide=guide, num_samples=6, parallel=parallel)()
        assert drawn["y"].shape == (6, 3) and drawn["z"].shape == (6, 1, 2)

    @pytest.mark.parametrize("parallel", [False, True])
    @pytest.mark.parametrize("shape", [(6, 2), (6, 1, 2)])
    def test_samples(self, parallel, shape):
        assert Predictive(self.model, {"z": torch.ones(shape)}, parallel=parallel)()["y"].shape == (6, 3)


def test_arguments_in_the_wrong_place():
    guide = autoguide.AutoNormal(product)
    with pytest.raises(ModelError, match=r"Predictive\(model, guide=guide, num_samples=100\)"):
        Predictive(product, guide, 100)
    with pytest.raises(ModelError, match=r"the guide is the class AutoNormal.*AutoNormal\(model\)"):
        Predictive(product, guide=autoguide.AutoNormal, num_samples=10)
    with pytest.raises(ModelError, match=r"the guide is the class AutoNormal.*AutoNormal\(model\)"):
        SVI(product, autoguide.AutoNormal, Adam({"lr": 0.1}), Trace_ELBO())
    with pytest.raises(ModelError, match="the guide must be a function"):
        SVI(product, None, Adam({"lr": 0.1}), Trace_ELBO())


@pytest.mark.parametrize(
    "fn", [dist.Bernoulli(0.5), dist.Poisson(2.0), dist.Categorical(torch.ones(3))], ids=repr
)
def test_a_point_for_a_discrete_site(fn):
    def model():
        ember.sample("z", fn)

    with pytest.raises(ModelError, match=r"discrete sample site 'z'.*hide"):
        autoguide.AutoDelta(model)()


def returned_mixed(z):
    return z - z.mean()


def first_of_many(z):
    return z.reshape(-1)[0] + 0.0 * z


@pytest.mark.parametrize("mixing", [returned_mixed, first_of_many])
@pytest.mark.parametrize("validation", [True, False])
def test_samples_that_are_nearly_alike(mixing, validation):
    """Others change a sample's law by less than one in a thousand."""

    def program():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(100.0 + mixing(z), 1.0))

    torch.manual_seed(0)
    samples = {"z": 5.0 + 0.01 * torch.randn(20)}
    with (
        ember.validation_enabled(validation),
        pytest.raises(ModelError, match=r"at site 'y'.*if the others change"),
    ):
        Predictive(program, samples, parallel=True)()
    assert Predictive(program, samples)()["y"].shape == (20,)


def test_what_is_returned_is_compared():
    def program():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("w", dist.Normal(z, 1.0))
        return z.mean() + 0.0 * z

    with pytest.raises(ModelError, match=r"at the end of the program.*if the others change"):
        Predictive(program, num_samples=4, parallel=True, return_sites=["_RETURN"])()


def test_random_numbers_besides_sites_are_the_same_in_all_runs():
    def program(wrong):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        noise = torch.randn(())
        ember.sample("y", dist.Normal((z.mean() if wrong else z) + noise, 1.0))

    assert Predictive(program, num_samples=4, parallel=True)(False)["y"].shape == (4,)
    with pytest.raises(ModelError, match="at site 'y'"):
        Predictive(program, num_samples=5, parallel=True)(True)


class TestDataThatIsGiven:
    """What is observed comes back as it is: a call whose every site is observed draws nothing."""

    @staticmethod
    def model(y=None):
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        ember.deterministic("twice", 2.0 * mu)
        with ember.plate("rows", 3):
            return ember.sample("y", dist.Normal(mu, 1.0), obs=y)

    @pytest.mark.parametrize("how", [{}, {"parallel": True}, {"by_rows": True}])
    def test_a_warning_says_how_to_leave_it_out(self, how):
        predictive = Predictive(self.model, {"mu": torch.zeros(4)}, return_sites=["y"], **how)
        with pytest.warns(UserWarning, match=r"draws nothing: the model observes 'y'.*\n.*y=None"):
            assert torch.equal(predictive(torch.ones(3))["y"], torch.ones(4, 3))

    @pytest.mark.parametrize("sites", [["y", "twice"], ["y", "mu"], ["y", "_RETURN"], None])
    def test_none_where_something_is_drawn_or_computed(self, sites):
        Predictive(self.model, {"mu": torch.zeros(4)}, return_sites=sites)(torch.ones(3))
        Predictive(self.model, {"mu": torch.zeros(4)}, return_sites=["y"])()


def test_a_fit_in_the_place_of_its_draws():
    def model():
        ember.sample("mu", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError, match=r"Predictive\(model, fit\.draws\)"):
        Predictive(model, ember.fit(model, seed=0, progress=False))
