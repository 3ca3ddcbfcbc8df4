//! `speak dist/bundle`: a few phonemes in a plain style; prints how many samples there are, and the first.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = kokoro::Kokoro::open(std::env::args().nth(1).ok_or("give the folder dist/bundle")?)?;
    let samples = model.speak(&[16, 43, 54, 156, 83], &[0.25; 24])?;
    println!("{} {:?}", samples.len(), &samples[..4]);
    Ok(())
}
