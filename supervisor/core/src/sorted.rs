//! Lists, maps and sets in order, with little code.
//!
//! Each type of element that the sort of the standard library meets costs the daemon 3 to 6 kB of
//! code (driftsort, quicksort and small networks), each type of a B-tree 3 kB, 8 kB if something is
//! removed from it. What a daemon has in order are some tens of elements, two thousand at most; the
//! keys are mostly numbers that grow. So [`sort_by_key`] is a plain merge sort, and [`Map`] and
//! [`Set`] are sorted lists. An element of a list that may be long and is large belongs in a `Box`:
//! what is behind it moves when it is taken out.

use alloc::vec::{self, Vec};
use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

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

/// A map that is a sorted list: a search is binary, an insertion or a removal moves what is behind
/// it. Its methods do what those of [`BTreeMap`](alloc::collections::BTreeMap) of the same names
/// do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: Ord, V> Map<K, V> {
    /// Without entries.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where the key is, or would have to be.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.entries.binary_search_by(|(own, _)| own.borrow().cmp(key))
    }

    /// Whether it has this key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(self.place(key).ok()?).map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Puts a value under a key; returns the one before it.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => {
                let (_, old) = self.entries.get_mut(place)?;
                Some(core::mem::replace(old, value))
            }
            Err(place) => {
                self.entries.insert(place, (key, value));
                None
            }
        }
    }

    /// Takes out a key; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        Some(self.entries.remove(place).1)
    }

    /// Takes out every entry that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain_mut(|(key, value)| keep(key, value));
    }

    /// All entries, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// All entries by key, their values to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// All values, by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// All values, by key.
    pub fn into_values(self) -> impl Iterator<Item = V> {
        self.entries.into_iter().map(|(_, value)| value)
    }

    /// All values by key, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

impl<K: Ord, V> Extend<(K, V)> for Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<K, V> IntoIterator for Map<K, V> {
    type Item = (K, V);
    type IntoIter = vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<K: Ord + Serialize, V: Serialize> Serialize for Map<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Map<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Entries(PhantomData))
    }
}

/// Takes a written map; of entries with one key the last counts.
struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
    type Value = Map<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = entries.next_entry()? {
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// A set that is a sorted list, as [`Map`] is a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<T> {
    elements: Vec<T>,
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self { elements: Vec::new() }
    }
}

impl<T: Ord> Set<T> {
    /// Without elements.
    pub const fn new() -> Self {
        Self { elements: Vec::new() }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Whether it has this element.
    pub fn contains<Q: Ord + ?Sized>(&self, element: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.elements.binary_search_by(|own| own.borrow().cmp(element)).is_ok()
    }

    /// Puts an element in; false if it was there already.
    pub fn insert(&mut self, element: T) -> bool {
        let place = self.elements.binary_search(&element);
        if let Err(place) = place {
            self.elements.insert(place, element);
        }
        place.is_err()
    }

    /// Takes an element out; false if it was not there.
    pub fn remove(&mut self, element: &T) -> bool {
        let place = self.elements.binary_search(element);
        if let Ok(place) = place {
            self.elements.remove(place);
        }
        place.is_ok()
    }

    /// Takes out every element that `keep` does not want.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.elements.retain(keep);
    }

    /// All elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.elements.iter()
    }
}

impl<T> IntoIterator for Set<T> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.elements.into_iter()
    }
}

impl<T: Ord> Extend<T> for Set<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        for element in elements {
            self.insert(element);
        }
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut set = Self::new();
        set.extend(elements);
        set
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Sixteen numbers again and again, by a linear congruence (Numerical Recipes).
    fn numbers() -> impl FnMut() -> u32 {
        let mut state = 1_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 28
        }
    }

    #[test]
    fn lists_of_every_length_and_order_are_sorted_as_the_standard_library_does_it() {
        let mut number = numbers();
        for length in 0..200_u32 {
            // Keys repeat, so that stability shows.
            let list: Vec<(u32, u32)> = (0..length).map(|place| (number(), place)).collect();
            let (mut ours, mut theirs) = (list.clone(), list);
            sort_by_key(&mut ours, &|(key, _)| *key);
            theirs.sort_by_key(|(key, _)| *key);
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_map_does_what_a_tree_does() {
        let (mut ours, mut theirs) = (Map::default(), BTreeMap::new());
        let mut number = numbers();
        for step in 0..2000_u32 {
            let key = number();
            assert_eq!(ours.contains_key(&key), theirs.contains_key(&key));
            assert_eq!(ours.get(&key), theirs.get(&key));
            match number() {
                0..=6 => assert_eq!(ours.insert(key, step), theirs.insert(key, step)),
                7..=12 => assert_eq!(ours.remove(&key), theirs.remove(&key)),
                13 => {
                    ours.retain(|other, value| *other != key && *value % 3 != 0);
                    theirs.retain(|other, value| *other != key && *value % 3 != 0);
                }
                _ => {
                    ours.get_mut(&key).into_iter().for_each(|value| *value += 1);
                    theirs.get_mut(&key).into_iter().for_each(|value| *value += 1);
                }
            }
            assert!(ours.iter().eq(theirs.iter()) && ours.len() == theirs.len());
            assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
            assert_eq!(ours.is_empty(), theirs.is_empty());
        }
        assert!(ours.iter_mut().eq(theirs.iter_mut()));
        assert!(ours.values_mut().eq(theirs.values_mut()));
        assert!(ours.into_values().eq(theirs.into_values()));
    }

    #[test]
    fn a_set_does_what_a_tree_does() {
        let (mut ours, mut theirs) = (Set::default(), BTreeSet::new());
        let mut number = numbers();
        for _ in 0..2000 {
            let element = number();
            assert_eq!(ours.contains(&element), theirs.contains(&element));
            match number() {
                0..=7 => assert_eq!(ours.insert(element), theirs.insert(element)),
                8..=14 => assert_eq!(ours.remove(&element), theirs.remove(&element)),
                _ => {
                    ours.retain(|other| *other > element);
                    theirs.retain(|other| *other > element);
                }
            }
            assert!(ours.iter().eq(theirs.iter()) && ours.len() == theirs.len());
            assert_eq!(ours.is_empty(), theirs.is_empty());
        }
        assert!(ours.into_iter().eq(theirs));
    }

    #[test]
    fn what_is_collected_keeps_the_last_of_a_key() {
        let pairs = [(2, 'a'), (1, 'b'), (2, 'c')];
        let ours: Map<i32, char> = pairs.into_iter().collect();
        assert!(ours.iter().eq(BTreeMap::from(pairs).iter()));
        let ours: Set<i32> = [3, 1, 3, 2].into_iter().collect();
        assert!(ours.iter().eq(&[1, 2, 3]));
    }
}
