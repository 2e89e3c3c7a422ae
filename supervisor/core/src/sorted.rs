//! Lists and maps put in order with little code.
//!
//! Each type of element that the sort of the standard library meets costs the daemon 3 to 6 kB of
//! code (driftsort, quicksort and small networks), also in a `collect` into a map, which sorts a
//! list first. What is put in order here is a few thousand elements, once in a while: a plain
//! merge sort does for lists, and insertion, which is there anyway, for maps and sets.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Puts a list in order by a key; elements of one key keep theirs. Takes `n log n` comparisons, and
/// `n` allocations.
pub fn sort_by_key<T, K: Ord>(list: &mut Vec<T>, key: &impl Fn(&T) -> K) {
    if list.len() < 2 {
        return;
    }
    let mut right = list.split_off(list.len() / 2);
    let mut left = core::mem::take(list);
    sort_by_key(&mut left, key);
    sort_by_key(&mut right, key);
    let mut right = right.into_iter().peekable();
    for item in left {
        while let Some(earlier) = right.next_if(|other| key(other) < key(&item)) {
            list.push(earlier);
        }
        list.push(item);
    }
    list.extend(right);
}

/// The map of these pairs; of pairs with one key, the last.
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}

/// The set of these elements.
pub fn set<T: Ord>(elements: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(elements);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_every_length_and_order_are_sorted_as_the_standard_library_does_it() {
        let mut state = 1_u32;
        for length in 0..200_u32 {
            // A linear congruence (Numerical Recipes): keys repeat, so that stability shows.
            let mut keys = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 28
            };
            let list: Vec<(u32, u32)> = (0..length).map(|place| (keys(), place)).collect();
            let (mut ours, mut theirs) = (list.clone(), list);
            sort_by_key(&mut ours, &|(key, _)| *key);
            theirs.sort_by_key(|(key, _)| *key);
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn maps_keep_the_last_of_a_key_as_a_collect_does() {
        let pairs = [(2, 'a'), (1, 'b'), (2, 'c')];
        assert_eq!(map(pairs), pairs.into_iter().collect());
        assert_eq!(set([3, 1, 3, 2]).into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
