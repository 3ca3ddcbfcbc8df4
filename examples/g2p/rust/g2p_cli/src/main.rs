//! `g2p_cli dist/bundle Char siu`: the ids of each word's phonemes. Two crates away from the models.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let model = g2p_tvm::G2p::open(words.next().ok_or("give the folder dist/bundle, and words")?)?;
    for word in words {
        println!("{word}: {:?}", model.ids(&word, 8)?);
    }
    Ok(())
}
