//! Distribution functions behind the intervals and thresholds.
//!
//! Each is written for the extreme arguments met here (a million images, rates of one in a
//! million) and checked against scipy in `tests/reference/metrics.json`; relative accuracy is 1e-9
//! or better in the ranges tested there.

/// Difference between ln Gamma(z) and Stirling's main term (z - 1/2) ln z - z + ln(2 pi)/2.
///
/// Beta functions of large arguments are differences of huge logarithms; with the main terms
/// cancelled by hand only these small corrections remain (Loader 2000, "Fast and accurate
/// computation of binomial probabilities").
fn stirling_correction(z: f64) -> f64 {
    const SMALL: f64 = 15.0;
    if z < SMALL {
        // Gamma(z + 1) = z Gamma(z), applied until the series below converges.
        let main = |z: f64| (z - 0.5) * z.ln() - z;
        let (mut at, mut product) = (z, 1.0);
        while at < SMALL {
            product *= at;
            at += 1.0;
        }
        return stirling_correction(at) + main(at) - main(z) - product.ln();
    }
    let (inverse, square) = (1.0 / z, 1.0 / (z * z));
    inverse
        * (1.0 / 12.0
            - square
                * (1.0 / 360.0
                    - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))))
}

/// ln Gamma(z) for z > 0.
pub(crate) fn ln_gamma(z: f64) -> f64 {
    (z - 0.5) * z.ln() - z + 0.5 * std::f64::consts::TAU.ln() + stirling_correction(z)
}

/// The regularised incomplete beta function I_x(a, b), with 1 - I_x(a, b): whichever is small
/// keeps its relative accuracy.
fn beta_tails(a: f64, b: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    if x >= 1.0 {
        return (1.0, 0.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        // Only here is 1 - x rounded, and only where x is not small.
        let (low, high) = beta_tails_left(b, a, 1.0 - x, x);
        return (high, low);
    }
    beta_tails_left(a, b, x, 1.0 - x)
}

/// [`beta_tails`] where the continued fraction (DLMF 8.17.22, modified Lentz) converges quickly.
fn beta_tails_left(a: f64, b: f64, x: f64, rest: f64) -> (f64, f64) {
    let sum = a + b;
    // x^a (1-x)^b / B(a, b), with the powers taken relative to the mode a / (a + b).
    let ln_front = a * ((x * sum - a) / a).ln_1p()
        + b * ((rest * sum - b) / b).ln_1p()
        + 0.5 * (a * b / (sum * std::f64::consts::TAU)).ln()
        - stirling_correction(a)
        - stirling_correction(b)
        + stirling_correction(sum);
    const TINY: f64 = 1e-300;
    let nonzero = |v: f64| if v.abs() < TINY { TINY } else { v };
    let (mut c, mut d) = (1.0, 1.0 / nonzero(1.0 - sum * x / (a + 1.0)));
    let mut fraction = d;
    // Of the order of sqrt(max(a, b)) rounds are needed; the cap only bounds the time.
    for m in 1..200_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / nonzero(1.0 + even * d);
        c = nonzero(1.0 + even / c);
        fraction *= c * d;
        let odd = -(a + m) * (sum + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / nonzero(1.0 + odd * d);
        c = nonzero(1.0 + odd / c);
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    let low = (ln_front.exp() * fraction / a).min(1.0);
    (low, 1.0 - low)
}

/// P(Binomial(n, p) <= k).
pub(crate) fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    beta_tails(k as f64 + 1.0, (n - k) as f64, p).1
}

/// The point below which a Beta(a, b) variable stays with the given probability.
pub(crate) fn beta_quantile(probability: f64, a: f64, b: f64) -> f64 {
    bisect(0.0, 1.0, |x| {
        let (low, high) = beta_tails(a, b, x);
        if probability < 0.5 {
            low < probability
        } else {
            high > 1.0 - probability
        }
    })
}

/// The point in `[low, high]` where `below` changes from true to false, to the last bit.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    // 200 halvings exhaust the 53 bits of any value above 1e-40.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// P(Z > z) for a standard normal Z, relatively accurate far into the tail.
pub(crate) fn normal_survival(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_survival(-z);
    }
    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    if z < 3.0 {
        // P(0 < Z < z) = density * (z + z^3/3 + z^5/15 + ...): all terms positive.
        let (mut term, mut sum, mut odd) = (z, z, 1.0);
        while term > sum * 1e-17 {
            odd += 2.0;
            term *= z * z / odd;
            sum += term;
        }
        return 0.5 - density * sum;
    }
    // Laplace's continued fraction z + 1/(z + 2/(z + 3/(z + ...))), from the far end.
    let mut fraction = z;
    for k in (1..=120).rev() {
        fraction = z + f64::from(k) / fraction;
    }
    density / fraction
}

/// The point above which a standard normal variable lies with the given probability.
pub(crate) fn normal_upper_quantile(probability: f64) -> f64 {
    if probability > 0.5 {
        return -normal_upper_quantile(1.0 - probability);
    }
    bisect(0.0, 40.0, |z| normal_survival(z) > probability)
}

/// The point above which a Student t variable lies with the given probability, below a half. Exact:
/// degrees / (degrees + t^2) is a Beta(degrees / 2, 1 / 2) variable.
pub(crate) fn student_upper_quantile(probability: f64, degrees: f64) -> f64 {
    let x = beta_quantile(2.0 * probability, 0.5 * degrees, 0.5);
    (degrees * (1.0 - x) / x).sqrt()
}

/// P(T <= t) for a noncentral t variable, T = (Z + shift) / sqrt(V / degrees) with V chi-squared.
///
/// Integrates P(Z <= t w - shift) over w = sqrt(V / degrees) by Simpson's rule over all of the
/// density that a double can hold; the integrand is smooth and vanishes at both ends, where the
/// rule converges geometrically.
pub(crate) fn noncentral_t_cdf(t: f64, degrees: f64, shift: f64) -> f64 {
    // 10 standard deviations of w, which is about 1 / sqrt(2 degrees).
    let reach = 10.0 / (2.0 * degrees).sqrt();
    let (low, high) = ((1.0 - reach).max(0.0), 1.0 + reach);
    const PANELS: u32 = 600;
    let step = (high - low) / f64::from(PANELS);
    let ln_norm =
        std::f64::consts::LN_2 + 0.5 * degrees * (0.5 * degrees).ln() - ln_gamma(0.5 * degrees);
    let mut sum = 0.0;
    for i in 0..=PANELS {
        let w = low + step * f64::from(i);
        if w <= 0.0 {
            continue;
        }
        let density = (ln_norm + (degrees - 1.0) * w.ln() - 0.5 * degrees * w * w).exp();
        let weight = match i {
            0 | PANELS => 1.0,
            _ if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        sum += weight * density * normal_survival(shift - t * w);
    }
    sum * step / 3.0
}

/// Factor k for which mean + k * standard deviation of `n` normal values exceeds all but a share
/// `rate` of their population with the given confidence (one-sided tolerance factor; Owen 1968,
/// Krishnamoorthy and Mathew 2009, eq. 2.2.3): the `confidence` quantile of a noncentral t with
/// n - 1 degrees of freedom and shift z sqrt(n), over sqrt(n). Exact; for n >= 8 (with fewer
/// degrees of freedom the density of w no longer vanishes smoothly at 0).
pub(crate) fn tolerance_factor(n: u64, rate: f64, confidence: f64) -> f64 {
    let root = (n as f64).sqrt();
    let shift = normal_upper_quantile(rate) * root;
    let mut high = 2.0 * shift.abs() + 10.0;
    while noncentral_t_cdf(high, n as f64 - 1.0, shift) < confidence && high < 1e12 {
        high *= 2.0;
    }
    bisect(0.0, high, |t| {
        noncentral_t_cdf(t, n as f64 - 1.0, shift) < confidence
    }) / root
}
