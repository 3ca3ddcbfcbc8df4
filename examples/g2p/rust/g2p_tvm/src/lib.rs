//! Bytes of a word to the bytes of its phonemes, greedily, with a cache: what an app's crate looks like.

use slipway_g2p::{DecoderPrefillDefault, DecoderStepDefault, EncoderDefault, Error, Tensor};
use std::path::Path;

/// Ids of T5 over bytes: 0 begins and pads, 1 ends, and byte b is b + 3.
const START: i64 = 0;
const END: i64 = 1;
const FIRST_BYTE: i64 = 3;

pub struct G2p {
    encoder: EncoderDefault,
    prefill: DecoderPrefillDefault,
    step: DecoderStepDefault,
}

impl G2p {
    /// `bundles`: the folder dist/bundle, as the app ships it.
    pub fn open(bundles: impl AsRef<Path>) -> Result<Self, Error> {
        let bundle = |name| bundles.as_ref().join(name);
        Ok(G2p {
            encoder: EncoderDefault::open(bundle("encoder-default"))?,
            prefill: DecoderPrefillDefault::open(bundle("decoder_prefill-default"))?,
            step: DecoderStepDefault::open(bundle("decoder_step-default"))?,
        })
    }

    /// The ids that the model says, at most `most`.
    pub fn ids(&self, word: &str, most: usize) -> Result<Vec<i64>, Error> {
        let length = EncoderDefault::MAIN_INPUT_IDS_SHAPE[1];
        let mut ids: Vec<i64> = word.bytes().take(length).map(|byte| i64::from(byte) + FIRST_BYTE).collect();
        let mut mask = vec![1; ids.len()];
        ids.resize(length, 0);
        mask.resize(length, 0);
        let (ids, mask) = (Tensor::new([1, length], ids), Tensor::new([1, length], mask));
        let hidden = self.encoder.main(&ids, &mask)?;
        let (mut logits, cross_key, cross_value, mut keys, mut values) = self.prefill.main(&Tensor::new([1, 1], vec![START]), &hidden, &mask)?;
        let mut said = Vec::new();
        for position in 1..most.min(DecoderStepDefault::MAX_OUTPUT_LEN as usize) as i64 {
            let best = (0..logits.values.len()).max_by(|a, b| logits.values[*a].total_cmp(&logits.values[*b])).unwrap_or(0) as i64;
            if best == END {
                break;
            }
            said.push(best);
            (logits, keys, values) = self.step.main(&Tensor::new([1, 1], vec![best]), &Tensor::new([1], vec![position]), &mask, &cross_key, &cross_value, &keys, &values)?;
        }
        Ok(said)
    }
}
