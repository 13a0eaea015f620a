//! The heat map: how strongly each place of a face speaks for "fake".

/// How strongly each place speaks for "fake", as a raw `p_fake` from 0 to 1: from the logits of one face's places
/// (`[places * classes]`) and its classifier's logits. With more than two classes the classes beside the first count
/// as much as they do in the classifier's answer.
pub fn place_scores(places: &[f32], logits: &[f32]) -> Vec<f32> {
    let top = logits[1..].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits[1..].iter().map(|logit| (logit - top).exp()).collect();
    let sum: f32 = shares.iter().sum();
    // log(p_fake / p_real) of the whole face, to which the places' margins average.
    let whole = top + sum.ln() - logits[0];
    let margin = |classes: &[f32]| {
        let fake: f32 =
            classes[1..].iter().zip(&logits[1..]).zip(&shares).map(|((at, all), share)| (at - all) * share / sum).sum();
        whole + fake - (classes[0] - logits[0])
    };
    places.chunks(logits.len()).map(|classes| 1.0 / (1.0 + (-margin(classes)).exp())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_places_average_to_the_logit_of_p_fake() {
        let places = [0.5, 1.0, -2.0, /**/ 0.1, -1.0, 3.0, /**/ -0.6, 0.3, 0.2];
        let logits: Vec<f32> = (0..3).map(|c| places.iter().skip(c).step_by(3).sum::<f32>() / 3.0).collect();
        let probabilities = crate::detector::softmax(&logits);
        let logit = |p: f32| (p / (1.0 - p)).ln();
        let scores = place_scores(&places, &logits);
        assert_eq!(scores.len(), 3);
        let mean = scores.iter().map(|p| logit(*p)).sum::<f32>() / 3.0;
        assert!((mean - logit(1.0 - probabilities[0])).abs() < 1e-4, "{scores:?} {probabilities:?}");
    }
}
