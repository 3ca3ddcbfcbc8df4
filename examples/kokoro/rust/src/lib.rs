//! Phoneme ids to samples: the pipeline as an app's crate has it.

use slipway_kokoro::{DecoderDefault, DurationDefault, Error, F0nDefault, Tensor, TextEncoderDefault};
use std::path::Path;

const TEXT: usize = TextEncoderDefault::STATIC_TEXT_LEN as usize;
const AUDIO: usize = DecoderDefault::STATIC_AUDIO_LEN as usize;
const STYLE: usize = DurationDefault::STYLE_DIM as usize;
const CHANNELS: usize = F0nDefault::MAIN_EN_SHAPE[1];

pub struct Kokoro {
    text_encoder: TextEncoderDefault,
    duration: DurationDefault,
    f0n: F0nDefault,
    decoder: DecoderDefault,
}

impl Kokoro {
    /// `bundles`: the folder dist/bundle, as it lies in the app's resources.
    pub fn open(bundles: impl AsRef<Path>) -> Result<Self, Error> {
        let bundle = |part: &str| bundles.as_ref().join(format!("{part}-default"));
        Ok(Kokoro {
            text_encoder: TextEncoderDefault::open(bundle("text_encoder"))?,
            duration: DurationDefault::open(bundle("duration"))?,
            f0n: F0nDefault::open(bundle("f0n"))?,
            decoder: DecoderDefault::open(bundle("decoder"))?,
        })
    }

    /// The samples of at most `STATIC_TEXT_LEN` phonemes in a style of `STYLE_DIM` numbers.
    pub fn speak(&self, phonemes: &[i64], style: &[f32]) -> Result<Vec<f32>, Error> {
        let mut ids = phonemes.to_vec();
        ids.resize(TEXT, 0);
        let (ids, style) = (Tensor::new([1, TEXT], ids), Tensor::new([1, STYLE], style.to_vec()));
        let said = self.text_encoder.main(&ids)?;
        let (durations, features) = self.duration.main(&ids, &style)?;

        // Every phoneme is repeated for as many frames as it lasts.
        let frames: Vec<usize> = (0..phonemes.len().min(TEXT))
            .flat_map(|at| std::iter::repeat(at).take(durations.values[at].round().max(1.0) as usize))
            .take(AUDIO)
            .collect();
        let (mut asr, mut en) = (vec![0.0; CHANNELS * AUDIO], vec![0.0; CHANNELS * AUDIO]);
        for channel in 0..CHANNELS {
            for (frame, at) in frames.iter().enumerate() {
                asr[channel * AUDIO + frame] = said.values[channel * TEXT + at];
                en[channel * AUDIO + frame] = features.values[at * CHANNELS + channel];
            }
        }
        let (f0, n) = self.f0n.main(&Tensor::new([1, CHANNELS, AUDIO], en), &style)?;
        let mut samples = self.decoder.main(&Tensor::new([1, CHANNELS, AUDIO], asr), &f0, &n, &style)?.values;
        samples.truncate(samples.len() / AUDIO * frames.len());
        Ok(samples)
    }
}
