//! The order in which a Python `set` of ints gives its members back.
//!
//! CPython's tool keeps who awaits whom in sets of task ids, and the order of a set decides which
//! cycle it reports first and where that cycle begins. The layout of the hash table is that of
//! CPython 3.7 to 3.15 (Objects/setobject.c); `tests/oracle` compares it with a real interpreter.

/// How many slots after the first are tried before jumping.
const LINEAR_PROBES: usize = 9;
const PERTURB_SHIFT: u32 = 5;
const SLOTS_MIN: usize = 8;
/// Sets with more members than this grow by two, smaller ones by four.
const GROW_SLOWLY_ABOVE: usize = 50_000;
/// Ints hash to themselves modulo this prime.
const HASH_MODULUS: u64 = (1 << 61) - 1;

/// The members in the order of `for x in s`, after adding `keys` to an empty set one by one.
pub(super) fn set_order(keys: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut slots: Vec<Option<u64>> = vec![None; SLOTS_MIN];
    let mut n_used = 0;
    for key in keys {
        let at = slot(&slots, key);
        if slots[at].is_some() {
            continue;
        }
        slots[at] = Some(key);
        n_used += 1;
        if n_used * 5 >= (slots.len() - 1) * 3 {
            slots = grown(&slots, n_used);
        }
    }
    slots.into_iter().flatten().collect()
}

/// The slot that holds `key`, or the free one it goes to.
fn slot(slots: &[Option<u64>], key: u64) -> usize {
    let mask = slots.len() - 1;
    let hash = usize::try_from(key % HASH_MODULUS).expect("addresses are 64 bits wide");
    let mut perturb = hash;
    let mut at = hash & mask;
    loop {
        let probes = if at + LINEAR_PROBES <= mask {
            LINEAR_PROBES
        } else {
            0
        };
        let is_ours = |slot: &usize| slots[*slot].is_none_or(|held| held == key);
        if let Some(slot) = (at..=at + probes).find(is_ours) {
            return slot;
        }
        perturb >>= PERTURB_SHIFT;
        at = at.wrapping_mul(5).wrapping_add(1).wrapping_add(perturb) & mask;
    }
}

fn grown(slots: &[Option<u64>], n_used: usize) -> Vec<Option<u64>> {
    let above = if n_used > GROW_SLOWLY_ABOVE {
        n_used * 2
    } else {
        n_used * 4
    };
    let mut wider = vec![None; (above + 1).next_power_of_two().max(SLOTS_MIN)];
    for key in slots.iter().flatten() {
        let at = slot(&wider, *key);
        wider[at] = Some(*key);
    }
    wider
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line: the keys, a colon, the order in which CPython gave them back.
    const VECTORS: &str = include_str!("../../../tests/oracle/set_order.txt");

    #[test]
    fn orders_are_those_of_cpython() {
        let numbers = |text: &str| -> Vec<u64> {
            text.split_whitespace()
                .map(|number| number.parse().unwrap())
                .collect()
        };
        assert!(VECTORS.lines().count() >= 40);
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let (keys, order) = line.split_once(':').unwrap();
            assert_eq!(set_order(numbers(keys)), numbers(order), "{keys}");
        }
    }
}
