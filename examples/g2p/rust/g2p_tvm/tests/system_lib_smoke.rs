//! Any system library in place of the kit's: see smoke.yaml, and `G2P_TVM_SYSTEM_LIB` in docs/how-to/link-rust.md.

use slipway_g2p::{AnyModel, Tensor, MODELS};

#[test]
fn system_lib_smoke() {
    if MODELS[0].prefix != "g2p_test_" {
        return; // the kit's own archive is linked
    }
    let model = AnyModel::open("g2p_test_", "").unwrap();
    let sum: Tensor<f32, 1> = model.call_tensor("main", &[(&Tensor::new([1], vec![1.5f32])).into()]).unwrap();
    assert_eq!(sum.values, [2.5]);
    println!("1.5 -> {}", sum.values[0]);
}
